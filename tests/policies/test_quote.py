from __future__ import annotations

from dataclasses import replace

import pytest
from builders import DECODE, PREFILL, SteadyPredictor, fleet, pool, request, worker

from devices.worker import ApiPrice, Billing, BillingKind, Link, Worker
from policies.api import Placement
from policies.quote import kv_bytes, quote
from router.fleet import Fleet


def test_an_8192_token_prompt_of_a_70b_llama_moves_2_7_gb_in_55_2_ms() -> None:
    """8,192 x 327,680 B = 2,684,354,560 B; / 50 GB/s + 0.5 ms + 512 blocks x 2 us = 55.2 ms."""
    p = worker("p-0", pool("p", phases=PREFILL, shape="llama-3.1-70b"))
    d = worker("d-0", pool("d", phases=DECODE, shape="llama-3.1-70b"))
    view = fleet(p, d, links={("p", "d"): Link(50e9, latency_s=0.0005, per_block_s=2e-6)})
    offer = view.quote(request(prompt_tokens=8192), p, d, now=0.0)
    assert offer.transfer_bytes == 2_684_354_560
    assert offer.transfer_s == pytest.approx(0.0552, abs=5e-5)
    assert offer.ttft_s == pytest.approx(8192 * 1e-4 + 0.0552 + 0.01, abs=5e-5)


def test_a_rented_wire_is_charged_by_the_byte() -> None:
    """2,684,354,560 B at 0.02 USD per GB are 5.4 cents."""
    p = worker("p-0", pool("p", phases=PREFILL, shape="llama-3.1-70b"))
    d = worker("d-0", pool("d", phases=DECODE, shape="llama-3.1-70b"))
    own, rented = (
        fleet(p, d, links={("p", "d"): Link(50e9, usd_per_byte=usd)}).quote(request(prompt_tokens=8192), p, d, now=0.0)
        for usd in (0.0, 0.02e-9)
    )
    assert rented.usd - own.usd == pytest.approx(0.0537, abs=5e-5)
    assert rented.ttft_s == own.ttft_s


def test_one_worker_hands_nothing_over() -> None:
    whole = worker()
    offer = fleet(whole).quote(request(), whole, whole, now=0.0)
    assert (offer.transfer_s, offer.transfer_bytes) == (0.0, 0.0)


def test_a_pair_without_a_link_cannot_be_quoted() -> None:
    p, d = worker("p-0", pool("p")), worker("d-0", pool("d"))
    with pytest.raises(ValueError, match="no KV path from p-0 to d-0"):
        fleet(p, d).quote(request(), p, d, now=0.0)


def test_kv_of_an_unknown_model_shape_weighs_nothing() -> None:
    assert kv_bytes(worker(), 1000) == 0.0


def test_waiting_prefill_and_running_decodes_delay_the_first_token() -> None:
    one = worker()
    view = fleet(one)
    idle = view.quote(request(), one, one, now=0.0)
    asked = request("other", prompt_tokens=3000)
    view.reserve(asked, placement_on(one, view), now=0.0)
    busy = view.quote(request(), one, one, now=0.0)
    assert busy.ttft_s == pytest.approx(idle.ttft_s + 0.3)
    assert busy.tpot_s > idle.tpot_s


def placement_on(one: Worker, view: Fleet) -> Placement:
    return Placement(one, one, view.quote(request(), one, one, now=0.0))


def test_a_full_worker_is_quoted_the_time_until_room_is_free() -> None:
    """Two sequences of 200 tokens at 10 ms leave every second on average; the third waits for half a service time."""
    small = worker("s-0", pool("s", max_seqs=2))
    view = fleet(small)
    for name in ("a", "b"):
        held = view.reserve(request(name), placement_on(small, view), now=0.0)
        view.first_token(held, now=0.0)
    offer = view.quote(request(), small, small, now=100.0)
    assert offer.ttft_s == pytest.approx(0.1 + 200 * 0.01 / 2)


def test_a_long_queue_is_quoted_one_service_time_for_each_full_batch_before_us() -> None:
    """Two of 200 tokens at 10 ms leave every 2 s; with eight before it, the ninth starts after 3.5 such times."""
    small = worker("s-0", pool("s", max_seqs=2))
    view = fleet(small)
    for number in range(8):
        view.first_token(view.reserve(request(f"r{number}"), placement_on(small, view), now=0.0), now=0.0)
    offer = view.quote(request(), small, small, now=100.0)
    assert offer.ttft_s == pytest.approx(0.1 + 3.5 * 200 * 0.01)


def test_a_step_is_quoted_at_no_more_sequences_and_kv_than_the_worker_holds() -> None:
    class Growing(SteadyPredictor):
        def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
            return 0.01 * sequences + 1e-6 * kv_tokens

    small = worker("s-0", pool("s", max_seqs=2, kv_tokens=3000, predictor=Growing()))
    view = fleet(small)
    for number in range(8):
        view.first_token(view.reserve(request(f"r{number}"), placement_on(small, view), now=0.0), now=0.0)
    assert view.quote(request(), small, small, now=1000.0).tpot_s == pytest.approx(0.02 + 0.003)


def test_calls_to_an_api_do_not_wait_for_each_other_until_its_concurrency_is_used_up() -> None:
    api = worker("a", pool("a", price=ApiPrice(1.0, 2.0), max_seqs=2))
    view = fleet(api)
    alone = view.quote(request(), api, api, now=0.0)
    assert (alone.ttft_s, alone.tpot_s) == pytest.approx((0.1, 0.01))
    for name in ("a", "b"):
        assert view.quote(request(), api, api, now=0.0) == alone
        view.reserve(request(name), placement_on(api, view), now=0.0)
    assert view.quote(request(), api, api, now=0.0).ttft_s == pytest.approx(0.1 + 200 * 0.01 / 2)


def test_a_metered_pool_without_a_price_cannot_be_quoted() -> None:
    free = worker("a", replace(pool("a"), billing=Billing(BillingKind.METERED)))
    with pytest.raises(ValueError, match="pool a is metered and has no price"):
        fleet(free).quote(request(), free, free, now=0.0)


def test_dollars_are_rent_of_the_seconds_taken() -> None:
    """Prefill 0.1 s alone, then 200 steps of 10 ms alone, at 3.6 USD/h."""
    one = worker()
    offer = quote(request(), one, one, None, fleet(one).load(one), fleet(one).load(one), 200.0, 0.0)
    assert offer.usd == pytest.approx((0.1 + 200 * 0.01) * 3.6 / 3600)


def test_an_answer_that_turned_out_shorter_costs_less_and_its_prefill_the_same() -> None:
    one = worker()
    offer = fleet(one).quote(request(), one, one, now=0.0)
    assert offer.usd_of(200) == offer.usd
    assert offer.usd_of(50) == pytest.approx((0.1 + 50 * 0.01) * 3.6 / 3600)
    api = worker("a", pool("a", price=ApiPrice(1.0, 2.0)))
    assert fleet(api).quote(request(), api, api, now=0.0).usd_of(50) == pytest.approx((1000 * 1.0 + 50 * 2.0) / 1e6)


def test_decodes_slow_prefill_by_what_they_add_to_each_chunk() -> None:
    class Growing(SteadyPredictor):
        def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
            return 0.01 + 0.001 * sequences

    one = worker("g-0", pool("g", predictor=Growing()))
    view = fleet(one)
    held = view.reserve(request("a"), placement_on(one, view), now=0.0)
    view.first_token(held, now=50.0)
    held = view.reserve(request("b"), placement_on(one, view), now=50.0)
    view.first_token(held, now=100.0)
    offer = view.quote(request(prompt_tokens=4096), one, one, now=500.0)
    assert offer.ttft_s == pytest.approx(4096e-4 + 2 * 0.001)


def test_what_is_cached_is_not_prefilled_again() -> None:
    one = worker()
    load = fleet(one).load(one)
    offer = quote(request(prompt_tokens=1000), one, one, None, load, load, 200.0, 0.0, cached_tokens=400)
    assert offer.ttft_s == pytest.approx(600 * 1e-4)
    api = worker("a", pool("a", price=ApiPrice(1.0, 2.0)))
    load = fleet(api).load(api)
    assert quote(request(), api, api, None, load, load, 200.0, 0.0).ttft_s == pytest.approx(0.1)
