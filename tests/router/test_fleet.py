from __future__ import annotations

import math

import pytest
from builders import DECODE, PREFILL, fleet, pool, request, worker

from devices.worker import ApiPrice, Billing, BillingKind, Link
from policies.api import Placement, Request
from router.fleet import Fleet
from router.load import DUTY_WINDOW_S, WorkerReport
from router.output_lengths import OutputLengths

LINK = {("p", "d"): Link(50e9)}


def booked(view: Fleet, asked: Request, prefill: str, decode: str, now: float = 0.0):  # type: ignore[no-untyped-def]
    p, d = view.by_name[prefill], view.by_name[decode]
    return view.reserve(asked, Placement(p, d, view.quote(asked, p, d, now)), now)


def split_fleet() -> Fleet:
    return fleet(worker("p-0", pool("p", phases=PREFILL)), worker("d-0", pool("d", phases=DECODE)), links=LINK)


def test_a_whole_placement_books_prompt_and_expected_output_on_its_worker() -> None:
    view = fleet(worker("w"))
    held = booked(view, request(prompt_tokens=1000), "w", "w")
    load = view.load(view.by_name["w"])
    assert (load.requests, load.decodes, load.queued_prefill_tokens, load.kv_tokens) == (1, 1, 1000, 1200)
    assert load.prefill_wait_s(0.04) == pytest.approx(0.06)
    view.first_token(held, now=0.1)
    assert (load.queued_prefill_tokens, load.prefill_wait_s(0.1)) == (0, 0.0)
    view.release(held, now=1.0)
    assert view.idle


def test_a_split_frees_the_prefill_worker_at_the_first_token() -> None:
    view = split_fleet()
    p, d = view.load(view.by_name["p-0"]), view.load(view.by_name["d-0"])
    held = booked(view, request(prompt_tokens=1000), "p-0", "d-0")
    assert (p.requests, p.kv_tokens, d.requests, d.decodes, d.kv_tokens) == (1, 1000, 1, 1, 1200)
    view.prefilled(held, now=0.1)
    assert (p.requests, p.queued_prefill_tokens, p.kv_tokens) == (1, 0, 1000)
    view.first_token(held, now=0.2)
    assert p.idle
    assert not d.idle
    view.release(held, now=1.0)
    view.release(held, now=1.0)
    assert view.idle


def test_an_abandoned_split_frees_both_workers_at_once() -> None:
    view = split_fleet()
    held = booked(view, request(), "p-0", "d-0")
    view.release(held, now=0.01)
    assert view.idle


def test_a_late_prefill_moves_what_is_queued_behind_it() -> None:
    view = fleet(worker("w"))
    first = booked(view, request("a", prompt_tokens=1000), "w", "w")
    booked(view, request("b", prompt_tokens=2000), "w", "w")
    load = view.load(view.by_name["w"])
    assert load.prefill_wait_s(0.0) == pytest.approx(0.3)
    view.first_token(first, now=5.0)
    assert load.prefill_wait_s(5.0) == pytest.approx(0.2)


def test_taking_back_what_is_queued_does_not_put_the_rest_back_to_its_start() -> None:
    view = fleet(worker("w"))
    booked(view, request("long", prompt_tokens=100_000), "w", "w")
    behind = booked(view, request("short", prompt_tokens=1000), "w", "w")
    load = view.load(view.by_name["w"])
    view.release(behind, now=9.9)
    assert load.prefill_wait_s(9.9) == pytest.approx(0.2)


def test_a_first_token_shows_that_all_prefill_sent_before_is_over_too() -> None:
    """An answer that is not streamed shows no first token; its prompt must not count as waiting until it ends."""
    view = fleet(worker("w"))
    whole = booked(view, request("whole", prompt_tokens=5000), "w", "w")
    streamed = booked(view, request("streamed", prompt_tokens=1000), "w", "w")
    booked(view, request("next", prompt_tokens=2000), "w", "w")
    load = view.load(view.by_name["w"])
    view.first_token(streamed, now=0.7)
    assert load.prefill_wait_s(0.7) == pytest.approx(0.2)
    view.release(whole, now=5.0)
    assert load.prefill_wait_s(5.0) == 0.0


def test_prefill_duty_is_the_share_of_recent_seconds_and_fades() -> None:
    view = fleet(worker("w"))
    load = view.load(view.by_name["w"])
    assert load.prefill_duty(0.0) == 0.0
    booked(view, request(prompt_tokens=10_000), "w", "w")
    assert load.prefill_duty(0.0) == pytest.approx(1.0 / DUTY_WINDOW_S)
    assert load.prefill_duty(DUTY_WINDOW_S) == pytest.approx(1.0 / DUTY_WINDOW_S / math.e)


def test_writing_past_the_forecast_grows_the_reservation() -> None:
    view = fleet(worker("w"))
    held = booked(view, request(prompt_tokens=1000), "w", "w")
    view.grown(held, 150)
    assert view.load(view.by_name["w"]).kv_tokens == 1200
    view.grown(held, 450)
    assert view.load(view.by_name["w"]).kv_tokens == 1000 + 563, "450 and a quarter more"
    view.release(held, now=1.0)
    view.grown(held, 9000)
    assert view.idle


def test_a_report_adds_only_what_we_did_not_send_ourselves() -> None:
    view = fleet(worker("w"))
    booked(view, request(), "w", "w")
    load = view.load(view.by_name["w"])
    load.reported(WorkerReport(running=1, waiting=0, kv_usage=0.1, at_s=1.0))
    assert load.requests == 1
    load.reported(WorkerReport(running=3, waiting=2, kv_usage=None, at_s=2.0))
    assert load.requests == 1 + 2
    load.reported(WorkerReport(running=900, waiting=0, kv_usage=None, at_s=2.0))
    assert load.requests == 1 + 2, "a report that is not newer changes nothing"
    load.reported(WorkerReport(running=None, waiting=None, kv_usage=None, at_s=3.0))
    assert load.requests == 1 + 2


def test_expected_output_is_learned_per_model_and_class_and_capped_by_the_client() -> None:
    lengths = OutputLengths()
    assert lengths.expected(request()) == 200
    assert lengths.expected(request(max_tokens=16)) == 16
    for _ in range(5000):
        lengths.finished(request(traffic_class="agent"), 50)
    assert lengths.expected(request(traffic_class="agent")) == pytest.approx(50, abs=1)
    assert lengths.expected(request(traffic_class="chat")) == 200


def test_masks_leave_out_what_cannot_serve() -> None:
    small = worker("small", pool("a", max_context_tokens=500))
    large = worker("large", pool("b"))
    view = fleet(small, large)
    assert list(view.decoders(request(prompt_tokens=499))) == [small, large]
    assert list(view.decoders(request(prompt_tokens=500))) == [large]
    assert list(view.decoders(request(avoid=["large"], prompt_tokens=10))) == [small]
    assert list(view.decoders(request(model_name="other"))) == []
    assert list(view.decoders(request(min_bits=17))) == []
    view.set_routable(large, False)
    assert not view.is_routable(large)
    assert not view.can_ever_serve(request(prompt_tokens=500))


def test_hard_slots_admit_only_what_fits_slots_and_kv() -> None:
    lpu = worker("lpu", pool("l", hard_slots=True, max_seqs=2, kv_tokens=2500))
    view = fleet(lpu)
    assert list(view.decoders(request(prompt_tokens=2301))) == [lpu], "idle, it has all the room there ever will be"
    booked(view, request("a", prompt_tokens=300), "lpu", "lpu")
    assert list(view.decoders(request(prompt_tokens=1801))) == []
    assert list(view.decoders(request(prompt_tokens=1800))) == [lpu]
    booked(view, request("b", prompt_tokens=300), "lpu", "lpu")
    assert list(view.decoders(request(prompt_tokens=1))) == []


def test_hard_slots_are_kept_for_prefill_legs_too() -> None:
    view = fleet(
        worker("l", pool("l", phases=PREFILL, hard_slots=True, max_seqs=2, kv_tokens=2500)),
        worker("d", pool("d", phases=DECODE)),
        links={("l", "d"): Link(50e9)},
    )
    prefill, decode = view.by_name["l"], view.by_name["d"]
    held = booked(view, request("a", prompt_tokens=1000), "l", "d")
    assert list(view.prefillers(request(prompt_tokens=1501), decode)) == []
    assert list(view.prefillers(request(prompt_tokens=1500), decode)) == [prefill]
    booked(view, request("b", prompt_tokens=1000), "l", "d")
    assert list(view.prefillers(request(prompt_tokens=1), decode)) == []
    assert view.can_ever_serve(request(prompt_tokens=1))
    view.first_token(held, now=1.0)
    assert list(view.prefillers(request(prompt_tokens=1), decode)) == [prefill]


def test_the_longest_answer_asked_for_must_fit_the_context() -> None:
    """Engines refuse a request whose prompt and `max_tokens` exceed their context."""
    small, large = worker("small", pool("a", max_context_tokens=8192)), worker("large", pool("b"))
    view = fleet(small, large)
    assert list(view.decoders(request(prompt_tokens=5000, max_tokens=3192))) == [small, large]
    assert list(view.decoders(request(prompt_tokens=5000, max_tokens=3193))) == [large]
    view.set_routable(large, False)
    assert not view.can_ever_serve(request(prompt_tokens=5000, max_tokens=3193))


def test_prefill_workers_are_masked_like_the_others() -> None:
    view = split_fleet()
    p, d = view.by_name["p-0"], view.by_name["d-0"]
    assert list(view.prefillers(request(), d)) == [p]
    assert list(view.prefillers(request(splittable=False), d)) == []
    assert list(view.prefillers(request(avoid=["p-0"]), d)) == []
    view.set_routable(p, False)
    assert not view.can_ever_serve(request())


def test_two_workers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="not unique"):
        fleet(worker("w"), worker("w"))


def test_a_new_rent_is_quoted_from_then_on_and_the_pool_itself_is_not_touched() -> None:
    gpu = pool("gpu", usd_per_hour=2.0)
    view = fleet(worker("w", gpu), worker("other", pool("other", usd_per_hour=2.0)))
    one, other = view.by_name["w"], view.by_name["other"]
    before = view.quote(request(), one, one, 0.0)
    view.reprice("gpu", Billing(BillingKind.ON_DEMAND, 6.0))
    after = view.quote(request(), one, one, 0.0)
    assert after.usd == pytest.approx(3 * before.usd)
    assert after.ttft_s == before.ttft_s
    assert view.quote(request(), other, other, 0.0) == before
    assert gpu.billing.usd_per_chip_hour == 2.0


def test_a_new_price_of_an_api_is_quoted_from_then_on() -> None:
    view = fleet(worker("c", pool("c", price=ApiPrice(1.0, 2.0))))
    one = view.by_name["c"]
    before = view.quote(request(), one, one, 0.0)
    view.reprice("c", Billing(BillingKind.METERED, price=ApiPrice(4.0, 8.0)))
    assert view.quote(request(), one, one, 0.0).usd == pytest.approx(4 * before.usd)
