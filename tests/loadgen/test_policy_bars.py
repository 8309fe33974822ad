"""The bench judges fairly, and its bars are met."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "policy_bars.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_policies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(attained: float, usd: float) -> dict[str, float]:
    return {"slo_attainment": attained, "usd_per_mtok_good": usd}


@pytest.mark.parametrize(
    ("ours", "theirs", "met"),
    [
        (run(0.99, 5.0), run(0.90, 6.0), [True, True]),
        (run(0.90, 5.0), run(0.90, 6.0), [False, True]),
        (run(0.99, 6.0), run(0.90, 6.0), [True, False]),
        (run(0.80, 7.0), run(0.90, 6.0), [False, False]),
    ],
)
def test_a_bar_is_met_only_by_being_better(
    bench: ModuleType, ours: dict[str, float], theirs: dict[str, float], met: list[bool]
) -> None:
    found = {(4.0, "cost-slo", 1): ours, (4.0, "round-robin", 1): theirs, (4.0, "least-load", 1): theirs}
    assert [judged for judged, _ in bench.bars(found, [4.0], [1])] == met * 2


@pytest.mark.slow
def test_cost_slo_beats_the_baselines_at_two_rates_on_three_seeds() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rate-scale", "4", "8"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("met: ") == 24
