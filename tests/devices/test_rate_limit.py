"""What an API grants, and what its refusals mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.natures.rate_limit import Allowance, RateLimits, Remedy, refusal

LIMITS = RateLimits(requests_per_min=30, tokens_per_min=6000)


def test_too_many_requests_wait_as_long_as_the_header_says() -> None:
    said = refusal(429, "7.5")
    assert said is not None
    assert (said.remedy, said.retry_after_s) == (Remedy.WAIT, 7.5)


@pytest.mark.parametrize(("header", "seconds"), [(None, 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("-3", 0.0)])
def test_a_header_that_is_missing_or_no_number_has_a_default(header: str | None, seconds: float) -> None:
    said = refusal(429, header)
    assert said is not None
    assert said.retry_after_s == seconds


def test_a_full_flex_tier_sends_the_request_elsewhere_at_once() -> None:
    said = refusal(498)
    assert said is not None
    assert (said.remedy, said.retry_after_s) == (Remedy.ELSEWHERE, 0.0)


@pytest.mark.parametrize("status", [200, 400, 500, 503])
def test_other_statuses_are_not_about_capacity(status: int) -> None:
    assert refusal(status) is None


def test_requests_run_out_and_refill_evenly() -> None:
    left = Allowance.full(LIMITS, 0.0)
    for _ in range(30):
        left, said = left.take(1, 0.0)
        assert said is None
    left, said = left.take(1, 0.0)
    assert said is not None
    assert (said.status, said.retry_after_s) == (429, 2.0)
    left, said = left.take(1, 2.0)
    assert said is None


def test_tokens_run_out_first_for_long_requests() -> None:
    left, said = Allowance.full(LIMITS, 0.0).take(5000, 0.0)
    assert said is None
    _, said = left.take(5000, 0.0)
    assert said is not None
    assert said.retry_after_s == pytest.approx(40.0)


def test_a_request_larger_than_a_minute_grants_never_goes_through() -> None:
    _, said = Allowance.full(LIMITS, 0.0).take(6001, 0.0)
    assert said is not None
    assert said.retry_after_s == math.inf


def test_without_limits_nothing_is_refused() -> None:
    left, said = Allowance.full(RateLimits(), 0.0).take(10**9, 0.0)
    assert said is None
    assert left.take(10**9, 0.0)[1] is None


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 3000)), max_size=200))
def test_no_minute_grants_more_than_two_minutes_worth(calls: list[tuple[float, int]]) -> None:
    """A bucket that is full at the start of a minute grants one minute's worth at once and refills another."""
    left, now, granted = Allowance.full(LIMITS, 0.0), 0.0, []
    for gap_s, tokens in calls:
        now += gap_s
        left, said = left.take(tokens, now)
        if said is None:
            granted.append((now, tokens))
    for start, _ in granted:
        within = [tokens for at, tokens in granted if start <= at < start + 60]
        assert len(within) <= 60
        assert sum(within) <= 12_000


@given(st.integers(1, 6000))
def test_a_refused_request_goes_through_after_the_wait_it_was_told(tokens: int) -> None:
    left, _ = Allowance.full(LIMITS, 0.0).take(6000, 0.0)
    left, said = left.take(tokens, 0.0)
    assert said is not None
    assert left.take(tokens, said.retry_after_s + 1e-9)[1] is None
