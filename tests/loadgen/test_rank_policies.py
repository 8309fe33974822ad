"""The verdict on two orders of policies, and what goes into it; live runs are for `bench/rank_policies.py` itself."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from policies.table import POLICIES
from router.config import load

ROOT = Path(__file__).parents[2]


def _loaded() -> ModuleType:
    """The script as a module; `bench` is not installed."""
    spec = spec_from_file_location("rank_policies", ROOT / "bench" / "rank_policies.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


BENCH = _loaded()


def seen(live: list[float], simulated: list[float]) -> object:
    """Runs of one policy with these goodputs, and nothing to tell apart by first tokens."""
    runs = BENCH.Seen()
    runs.live = [{"goodput_rps": figure, "ttft_p99_s": 1.0} for figure in live]
    runs.simulated = [{"goodput_rps": figure, "ttft_p99_s": 1.0} for figure in simulated]
    return runs


def test_pairs_closer_than_two_deviations_are_not_judged() -> None:
    near = {"a": seen([10.0, 12.0], [5.0, 5.0]), "b": seen([11.0, 13.0], [9.0, 9.0])}  # 1 apart, sd 1.41 each
    assert not [pair for pair in BENCH.pairs(near, "goodput_rps") if pair.told_apart]


def test_pairs_further_apart_are_alike_when_the_simulator_orders_them_so() -> None:
    table = {
        "a": seen([10.0, 10.2], [9.0, 9.2]),
        "b": seen([12.0, 12.2], [9.3, 9.5]),
        "c": seen([14.0, 14.2], [8.0, 8.2]),
    }
    judged = {pair.names: pair.alike for pair in BENCH.pairs(table, "goodput_rps") if pair.told_apart}
    assert judged == {("a", "b"): True, ("a", "c"): False, ("b", "c"): False}


def test_a_tie_of_the_simulator_is_no_agreement() -> None:
    table = {"a": seen([1.0, 1.1], [4.0, 4.0]), "b": seen([2.0, 2.1], [4.0, 4.0])}
    [pair] = BENCH.pairs(table, "goodput_rps")
    assert pair.told_apart
    assert not pair.alike


def test_every_shipped_policy_competes_and_one_of_them_twice() -> None:
    fleets = BENCH.contestants(load(BENCH.FLEET), 0.9)
    assert [fleet.policy for fleet in fleets] == [*POLICIES, "cost-slo"]
    assert len({fleet.name for fleet in fleets}) == len(fleets) >= 6
    assert fleets[-1].config.policy.options == {"margin": 0.9}


def test_without_traces_three_workloads_anyone_can_repeat_are_run() -> None:
    made = BENCH.cases([], 20.0)
    assert len({case.name for case in made}) == 3
    for case in made:
        rows = list(case.workload.rows())
        assert rows == list(case.workload.rows())
        assert len(rows) > 30
        assert rows[-1].arrival_s < 20


def test_a_trace_may_have_a_start_and_a_scale() -> None:
    [case] = BENCH.cases([f"{ROOT}/loadgen/data/azure2023_conv_10min.csv.gz:60:2"], 20.0)
    assert (case.workload.start_s, case.workload.rate_scale, case.workload.duration_s) == (60.0, 2.0, 20.0)


def test_many_tokens_are_replayed_slower_and_few_no_faster_than_allowed() -> None:
    trace = f"{ROOT}/loadgen/data/azure2023_conv_10min.csv.gz"
    [calm], [crowded] = BENCH.cases([f"{trace}:0:1"], 20.0), BENCH.cases([f"{trace}:0:20"], 20.0)
    assert calm.speed == BENCH.FASTEST
    tokens = sum(row.output_tokens for row in crowded.workload.rows())
    last_s = max(row.arrival_s for row in crowded.workload.rows())
    assert tokens / last_s * crowded.speed == pytest.approx(BENCH.TOKENS_PER_S)


def test_the_table_names_every_policy_once_the_best_first() -> None:
    lines = BENCH.markdown({"a": seen([1.0, 1.2], [1.0, 1.0]), "b": seen([3.0, 3.0], [2.0, 2.0])}).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| b", "| a"]
    assert "1.100 ± 0.141" in lines[3]
