from __future__ import annotations

import sys
from pathlib import Path

import pytest
from builders import request

from policies.api import Placement, Reject
from router.app import build
from router.config import load
from router.layout import layout

FLEET = """\
models: [{name: llama-3.1-8b}]
pools: [{name: gpu, device: h100-sxm, model: llama-3.1-8b, simulate: 2}]
policy: {name: "your_module:YourPolicy", favourite: gpu-1}
"""

POLICY = """\
from dataclasses import dataclass

from policies.api import FleetView, Placement, Reject, Request


@dataclass(frozen=True)
class YourPolicy:
    favourite: str

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | Reject | None:
        for worker in fleet.decoders(request):
            if worker.name == self.favourite:
                return Placement(worker, worker, fleet.quote(request, worker, worker, now))
        return Reject("no_worker", f"{self.favourite} is away")
"""


def test_the_fleet_file_names_a_policy_of_your_own_and_sets_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "your_module.py").write_text(POLICY)
    (tmp_path / "fleet.yaml").write_text(FLEET)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = load(tmp_path / "fleet.yaml")
    scheduler = build(config, layout(config)).scheduler
    for number in range(3):
        [placed] = scheduler.submit(request(f"r{number}", model_name="llama-3.1-8b"), 0.0)
        assert isinstance(placed.outcome, Placement)
        assert placed.outcome.decode.name == "gpu-1"
    scheduler.worker_lost("gpu-1", 1.0)
    [rejected] = scheduler.submit(request("late", model_name="llama-3.1-8b"), 1.0)
    assert isinstance(rejected.outcome, Reject)
    assert rejected.outcome.message == "gpu-1 is away"
    del sys.modules["your_module"]
