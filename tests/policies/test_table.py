from __future__ import annotations

import sys
from pathlib import Path

import pytest
from builders import fleet, request, worker

from policies.api import Placement
from policies.cost_slo import CostSlo
from policies.table import PolicyError, load


def test_a_policy_is_loaded_by_name_with_its_fields_as_options() -> None:
    assert load("cost-slo", {"margin": 0.9}) == CostSlo(margin=0.9)


def test_a_policy_of_your_own_is_one_file_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "your_module.py").write_text(
        "from policies.api import Placement\n"
        "class YourPolicy:\n"
        "    def place(self, request, fleet, now):\n"
        "        [worker] = fleet.decoders(request)\n"
        "        return Placement(worker, worker, fleet.quote(request, worker, worker, now))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    only = worker()
    placement = load("your_module:YourPolicy").place(request(), fleet(only), now=0.0)
    assert isinstance(placement, Placement)
    assert placement.decode is only
    del sys.modules["your_module"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cost-slos", {}, "unknown policy 'cost-slos'; did you mean 'cost-slo'?"),
        (
            "zzz",
            {},
            "unknown policy 'zzz'; known: cost-slo, least-load, power-of-two, prefix-affinity, random, round-robin",
        ),
        ("cost-slo", {"margins": 1}, "its options are: margin"),
        ("round-robin", {"x": 1}, "its options are: none"),
        ("cost-slo", {"margin": -3}, "margin must be above 0 and at most 1, not -3"),
        ("broken_policy:Policy", {}, "policy 'broken_policy:Policy': SyntaxError: "),
        ("nowhere:Policy", {}, "is the module on PYTHONPATH?"),
        ("math:nothing", {}, "is the module on PYTHONPATH?"),
        ("collections:Counter", {}, "has no method `place"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_what_would_do(
    name: str, options: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_policy.py").write_text("class Policy(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PolicyError) as error:
        load(name, options)
    assert message in str(error.value)
