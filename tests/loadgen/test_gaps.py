"""Quantiles over runs of gaps against the same gaps written out."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadgen.gaps import Gaps

runs = st.tuples(
    st.sampled_from([0.0, 0.01, 0.02, 0.3]) | st.floats(0, 1),
    st.sampled_from([0.0, 1e-20, 1e-9, 1e-5, 0.01, -1e-5]),
    st.integers(0, 40),
    st.integers(1, 5) | st.sampled_from([0.25, 0.5]),
)


def gaps_of(told: list[tuple[float, float, int, float]]) -> Gaps:
    gaps = Gaps()
    for run in told:
        gaps.add_run(*run)
    return gaps


def written_out(told: list[tuple[float, float, int, float]]) -> list[tuple[float, float]]:
    """(gap, tokens), ascending. A shrinking run is told from its end, as the store does."""
    found = []
    for gap_s, growth_s, iterations, tokens in told:
        first_s = gap_s + (iterations - 1) * growth_s if growth_s < 0 else gap_s
        found += [(first_s + j * abs(growth_s), tokens) for j in range(iterations)]
    return sorted(found)


def naive_quantile(pairs: list[tuple[float, float]], target: float) -> float:
    heaped = 0.0
    for gap_s, tokens in pairs:
        heaped += tokens
        if heaped >= target - 1e-9:
            return gap_s
    return pairs[-1][0]


@settings(max_examples=400, deadline=None)
@given(
    told=st.lists(runs, min_size=1, max_size=12).filter(lambda told: any(run[2] for run in told)),
    share=st.floats(0.001, 1),
    expanded=st.sampled_from([0, 1, 7, 1000]),
)
@example(told=[(0.01, 0.0, 40, 3)], share=0.5, expanded=0)
@example(told=[(0.01, 1e-20, 40, 1)], share=0.9, expanded=0)
def test_a_quantile_selected_among_runs_is_the_one_of_all_gaps_written_out(
    told: list[tuple[float, float, int, float]], share: float, expanded: int
) -> None:
    pairs = written_out(told)
    target = share * sum(tokens for _, tokens in pairs)
    assert gaps_of(told).runs().quantile(target, expanded) == naive_quantile(pairs, target)


@settings(max_examples=200, deadline=None)
@given(st.lists(runs, min_size=1, max_size=12).filter(lambda told: any(run[2] for run in told)))
def test_mean_and_total_are_those_of_all_gaps_written_out(told: list[tuple[float, float, int, float]]) -> None:
    pairs = written_out(told)
    total = math.fsum(tokens for _, tokens in pairs)
    gaps = gaps_of(told)
    assert gaps.total_tokens == total
    mean = math.fsum(gap_s * tokens for gap_s, tokens in pairs) / total
    assert gaps.spread()["mean"] == pytest.approx(mean, abs=1e-9)


def test_a_hundred_million_gaps_are_never_written_out() -> None:
    gaps = Gaps()
    gaps.add_run(0.010, 1e-10, 100_000_000, 64)
    gaps.add_run(0.005, 0.0, 1_000_000, 6400)
    # half of all tokens came after 5 ms; the rest after 10 ms and more, one hundred million equal steps
    assert gaps.spread() == {
        "mean": pytest.approx(0.5 * 0.005 + 0.5 * (0.010 + 1e-10 * (1e8 - 1) / 2), abs=1e-9),
        "p50": 0.005,
        "p90": pytest.approx(0.010 + 0.8 * 0.01, abs=1e-9),
        "p99": pytest.approx(0.010 + 0.98 * 0.01, abs=1e-9),
    }


def test_without_gaps_there_is_no_spread() -> None:
    assert Gaps().spread() == {"mean": None, "p50": None, "p90": None, "p99": None}
