import math
from itertools import islice, pairwise, takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.arrivals import arrivals, gamma, poisson

KINDS = ["poisson", "gamma:0.5", "gamma:3", "mmpp:10:5:20", "diurnal:0.8:100"]


def gaps(kind: str, rate_per_s: float, seed: int, arrived: int = 40_000) -> np.ndarray:
    return np.diff(np.array(list(islice(arrivals(kind)(rate_per_s, seed), arrived))))


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_gamma_arrivals_have_the_rate_and_burstiness_asked_for(cv: float) -> None:
    between = gaps(f"gamma:{cv}", 20.0, seed=1)
    assert 1 / between.mean() == pytest.approx(20, rel=0.05)
    assert between.std() / between.mean() == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_kind_has_the_rate_asked_for_and_never_goes_back(kind: str, seed: int) -> None:
    between = gaps(kind, 20.0, seed, arrived=300_000)
    assert 1 / between.mean() == pytest.approx(20, rel=0.1)
    assert (between >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_arrivals_and_another_seed_others(kind: str) -> None:
    first, again, other = (list(islice(arrivals(kind)(5, seed), 5000)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("factor", "burst_s", "calm_s"), [(10, 5, 20), (30, 2, 8), (3, 1, 1)])
def test_bursts_have_the_burstiness_of_the_two_state_process(factor: float, burst_s: float, calm_s: float) -> None:
    """Squared CV of gaps: Fischer and Meier-Hellstern, The MMPP cookbook, Performance Evaluation 18 (1993)."""
    rate = 20.0
    calm = rate * (burst_s + calm_s) / (factor * burst_s + calm_s)
    burst, leave_burst, leave_calm = calm * factor, 1 / burst_s, 1 / calm_s
    leave = leave_burst + leave_calm
    excess = 2 * leave_burst * leave_calm * (burst - calm) ** 2
    squared_cv = 1 + excess / (leave**2 * (burst * calm + burst * leave_calm + calm * leave_burst))
    between = gaps(f"mmpp:{factor}:{burst_s}:{calm_s}", rate, seed=5, arrived=100_000)
    assert between.std() / between.mean() == pytest.approx(math.sqrt(squared_cv), rel=0.1)


def test_a_day_begins_in_its_trough_and_peaks_in_its_middle() -> None:
    times = np.fromiter(takewhile(lambda s: s < 1000, arrivals("diurnal:0.8:100")(50, 1)), float) % 100
    counts, _ = np.histogram(times, bins=10, range=(0, 100))
    middles = np.arange(5, 100, 10)
    expected = 50 * 1000 / 10 * (1 - 0.8 * np.cos(2 * np.pi * middles / 100) * np.sinc(0.1))
    assert counts == pytest.approx(expected, rel=0.1)


def test_a_day_is_a_day_unless_told_otherwise() -> None:
    assert list(islice(arrivals("diurnal:0.5")(1, 1), 50)) == list(islice(arrivals("diurnal:0.5:86400")(1, 1), 50))


def test_gamma_with_cv_one_is_poisson() -> None:
    assert list(islice(gamma(7, 1.0, 1), 10)) == list(islice(poisson(7, 1), 10))


@given(kind=st.sampled_from(KINDS), rate_per_s=st.floats(0.01, 1000), seed=st.integers(0, 2**32))
def test_arrivals_start_after_zero_and_ascend(kind: str, rate_per_s: float, seed: int) -> None:
    times = list(islice(arrivals(kind)(rate_per_s, seed), 50))
    assert times[0] >= 0
    assert all(one <= other for one, other in pairwise(times))


@pytest.mark.parametrize(
    "text",
    [
        *("", "uniform", "poisson:2", "gamma", "gamma:", "gamma:x", "gamma:0", "gamma:-1", "gamma:inf", "gamma:1:2"),
        *("mmpp", "mmpp:10", "mmpp:10:5", "mmpp:1:5:5", "mmpp:10:0:5", "mmpp:10:5:5:5", "mmpp:nan:5:5"),
        *("diurnal", "diurnal:1.1", "diurnal:0", "diurnal:0.5:0", "diurnal:0.5:60:60"),
    ],
)
def test_unknown_arrivals_are_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected poisson, gamma:CV, mmpp:FACTOR:BURST_S:CALM_S or diurnal"):
        arrivals(text)
