from __future__ import annotations

import pytest
from builders import DECODE, PREFILL, SteadyPredictor, fleet, pool, request, worker

from devices.worker import ApiPrice, Link
from policies.api import Placement, Quote, Slo
from policies.cost_slo import CostSlo, meets, overrun
from router.fleet import Fleet


def placed(view: Fleet, **promise: float) -> Placement:
    placement = CostSlo().place(request(**promise), view, now=0.0)  # type: ignore[arg-type]  # floats by name
    assert isinstance(placement, Placement)
    return placement


FAST = SteadyPredictor(step_seconds=0.001)
SLOW = SteadyPredictor(step_seconds=0.02)


def dear_and_fast_or_cheap_and_slow() -> Fleet:
    return fleet(
        worker("dear", pool("dear", usd_per_hour=900, predictor=FAST)),
        worker("cheap", pool("cheap", predictor=SLOW)),
    )


def test_a_loose_promise_goes_to_the_cheap_device() -> None:
    view = dear_and_fast_or_cheap_and_slow()
    assert placed(view, tpot_s=0.05).decode.name == "cheap"


def test_a_tight_tpot_goes_to_the_fast_device() -> None:
    view = dear_and_fast_or_cheap_and_slow()
    assert placed(view, tpot_s=0.005).decode.name == "dear"


def test_when_no_pair_keeps_the_promise_the_soonest_is_taken() -> None:
    view = dear_and_fast_or_cheap_and_slow()
    assert placed(view, tpot_s=1e-6).decode.name == "dear"


def test_prefill_and_decode_are_chosen_together() -> None:
    """Prefill is fast on one device, decode on the other: only the pair keeps both halves of the promise."""
    prefill_chip = SteadyPredictor(prefill_s_per_token=1e-5, step_seconds=0.05)
    decode_chip = SteadyPredictor(prefill_s_per_token=1e-2, step_seconds=0.002)
    view = fleet(
        worker("p-0", pool("p", predictor=prefill_chip, shape="llama-3.1-70b")),
        worker("d-0", pool("d", predictor=decode_chip, shape="llama-3.1-70b")),
        links={("p", "d"): Link(50e9)},
    )
    pair = placed(view, ttft_s=0.5, tpot_s=0.01)
    assert (pair.prefill.name, pair.decode.name) == ("p-0", "d-0")
    assert placed(view, tpot_s=0.01).decode.name == "d-0"


def test_a_slow_link_keeps_both_phases_on_one_worker() -> None:
    view = fleet(
        worker("g-0", pool("g", shape="llama-3.1-70b", predictor=SLOW)),
        worker("p-0", pool("p", phases=PREFILL, shape="llama-3.1-70b", usd_per_hour=0.1)),
        worker("d-0", pool("d", phases=DECODE, shape="llama-3.1-70b", usd_per_hour=0.1)),
        links={("p", "d"): Link(0.1e9)},
    )
    assert not placed(view, ttft_s=0.5).split


A = ApiPrice(usd_per_m_input=0.59, usd_per_m_output=0.79)
B = ApiPrice(usd_per_m_input=0.15, usd_per_m_output=1.00)


@pytest.mark.parametrize(
    ("output_tokens", "cheaper", "usd"), [(500, "b", 0.000650), (6000, "a", 0.00533)], ids=["short", "long"]
)
def test_of_two_apis_the_cheaper_depends_on_the_output_length(output_tokens: int, cheaper: str, usd: float) -> None:
    """1,000 tokens in. At 500 out A asks 0.000985 USD and B 0.000650; at 6,000 out A 0.00533 and B 0.00615."""
    view = fleet(worker("a", pool("a", price=A)), worker("b", pool("b", price=B)))
    for _ in range(20_000):
        view.lengths.finished(request(), output_tokens)
    choice = placed(view)
    assert choice.decode.name == cheaper
    assert choice.quote.usd == pytest.approx(usd, rel=1e-6)


def test_the_api_prices_are_those_of_the_list() -> None:
    assert A.usd(1000, 500) == pytest.approx(0.000985)
    assert B.usd(1000, 500) == pytest.approx(0.000650)
    assert A.usd(1000, 6000) == pytest.approx(0.00533)
    assert B.usd(1000, 6000) == pytest.approx(0.00615)


def test_cached_input_is_billed_at_its_own_price_where_there_is_one() -> None:
    assert ApiPrice(1.0, 2.0, 0.1).usd(1000, 0, cached_tokens=400) == pytest.approx((600 * 1.0 + 400 * 0.1) / 1e6)
    assert ApiPrice(1.0, 2.0).usd(1000, 0, cached_tokens=400) == pytest.approx(1000 / 1e6)


def test_overrun_is_the_worst_of_the_limits_set() -> None:
    quote = Quote(ttft_s=0.5, tpot_s=0.02, usd=0.0)
    assert overrun(quote, Slo(ttft_s=1.0), 100, late_s=0.0) == pytest.approx(0.5)
    assert overrun(quote, Slo(ttft_s=1.0), 100, late_s=0.25) == pytest.approx(0.75)
    assert overrun(quote, Slo(ttft_s=1.0, tpot_s=0.01), 100, late_s=0.0) == pytest.approx(2.0)
    assert overrun(quote, Slo(e2e_s=2.48), 100, late_s=0.0) == pytest.approx(1.0)
    assert overrun(quote, Slo(), 100, late_s=9.0) == 0.0
    assert meets(quote, Slo(ttft_s=1.0), 100, 0.0, margin=0.5)
    assert not meets(quote, Slo(ttft_s=1.0), 100, 0.0, margin=0.49)
