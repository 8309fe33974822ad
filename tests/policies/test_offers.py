"""The vector twin of the quote: whatever the fleet, it leads to the choice of a full scan."""

from __future__ import annotations

import numpy as np
import pytest
from builders import BOTH, DECODE, PREFILL, SteadyPredictor, fleet, pool, request, worker
from fleets import busy, fleets, requests
from hypothesis import Phase as Step
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.worker import ApiPrice, Billing, BillingKind, Link, Phase, Worker
from policies.api import Placement, Request
from policies.columns import Columns
from policies.cost_slo import CostSlo
from policies.offers import MANY
from policies.prompts import MOST_LENGTHS
from router.fleet import Fleet

UNSHRUNK = [Step.explicit, Step.reuse, Step.generate]
"""A fleet is too much to shrink in minutes, and small enough to read."""
FEW = settings(max_examples=6, deadline=None, phases=UNSHRUNK)
MANY_MORE = settings(max_examples=400, deadline=None, phases=UNSHRUNK)


def may_decode(view: Fleet, asked: Request, one: Worker) -> bool:
    """The masks of `Fleet`, written once more: in rotation, precise enough, and room for the longest answer."""
    limits, load = one.pool.limits, view.load(one)
    tokens = min(asked.prompt_tokens + view.output_tokens(asked), limits.kv_tokens)
    return (
        one.serves(Phase.DECODE)
        and view.is_routable(one)
        and one.name not in asked.avoid
        and one.pool.precision.bits >= asked.min_bits
        and asked.prompt_tokens + (asked.max_tokens or 1) <= limits.max_context_tokens
        and (not limits.hard_slots or (load.requests < limits.max_seqs and load.kv_tokens + tokens <= limits.kv_tokens))
    )


def assert_chooses_as_scanned(data: st.DataObject) -> None:
    view = data.draw(fleets())
    now = busy(data.draw, view)
    for number in range(3):
        asked = data.draw(requests(1000 + number))
        placed = CostSlo().place(asked, view, now)
        assert placed == CostSlo().scan(asked, view, now)
        if placed is not None:
            view.reserve(asked, placed, now)


def assert_masks_as_told(data: st.DataObject) -> None:
    view = data.draw(fleets())
    busy(data.draw, view)
    asked = data.draw(requests(1000))
    decoders = [one for one in view.workers if may_decode(view, asked, one)]
    assert list(view.decoders(asked)) == decoders
    assert list(view.reachable(asked)) == [one for one in decoders if view.prefillers(asked, one)]
    assert list(view.requests(view.decoders(asked))) == list(view.requests(decoders))
    assert list(view.queued_tokens(view.decoders(asked))) == list(view.queued_tokens(decoders))


@FEW
@given(data=st.data())
def test_pricing_all_pairs_at_once_chooses_what_a_full_scan_chooses(data: st.DataObject) -> None:
    assert_chooses_as_scanned(data)


@pytest.mark.slow
@MANY_MORE
@given(data=st.data())
def test_pricing_all_pairs_at_once_chooses_what_a_full_scan_chooses_on_many_fleets(data: st.DataObject) -> None:
    assert_chooses_as_scanned(data)


@FEW
@given(data=st.data())
def test_what_is_remembered_of_a_kind_of_request_is_what_each_worker_says(data: st.DataObject) -> None:
    assert_masks_as_told(data)


@pytest.mark.slow
@MANY_MORE
@given(data=st.data())
def test_what_is_remembered_of_a_kind_of_request_is_what_each_worker_says_on_many_fleets(data: st.DataObject) -> None:
    assert_masks_as_told(data)


def same_as_scanned(view: Fleet, asked: Request) -> Placement:
    placed = CostSlo().place(asked, view, 0.0)
    assert placed == CostSlo().scan(asked, view, 0.0)
    assert placed is not None
    return placed


def test_of_many_that_are_alike_the_first_in_the_file_is_taken() -> None:
    twins = [worker(f"{name}-{k}", of) for k in range(MANY) for name, of in (("a", pool("a")), ("b", pool("b")))]
    assert same_as_scanned(fleet(*twins), request(ttft_s=5.0)).decode.name == "a-0"
    assert same_as_scanned(fleet(*reversed(twins)), request()).decode.name == f"b-{MANY - 1}"


def test_of_many_alike_on_both_sides_the_first_pair_is_taken() -> None:
    p, d = pool("p", phases=PREFILL), pool("d", phases=DECODE)
    workers = [worker(f"{of.name}-{k}", of) for k in range(2 * MANY) for of in (d, p)]
    placed = same_as_scanned(fleet(*workers, links={("p", "d"): Link(50e9)}), request(ttft_s=5.0))
    assert (placed.prefill.name, placed.decode.name) == ("p-0", "d-0")


def test_workers_without_a_wire_between_them_are_no_pair() -> None:
    cheap = pool("cheap", phases=PREFILL, usd_per_hour=0.1)
    workers = [worker("c", cheap), worker("p", pool("p", phases=PREFILL)), worker("d", pool("d", phases=DECODE))]
    placed = same_as_scanned(fleet(*workers, links={("p", "d"): Link(50e9)}), request())
    assert (placed.prefill.name, placed.decode.name) == ("p", "d")


def test_a_busier_prefill_worker_is_taken_where_it_is_cheaper_and_soon_enough() -> None:
    """Decodes slow a prefill and so make it dearer; a queue does not. Neither of two beats the other in both."""

    class Growing(SteadyPredictor):
        def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
            return 0.01 * sequences

    both = pool("p", phases=BOTH, predictor=Growing())
    queue, decoding, d = worker("queue", both), worker("decoding", both), worker("d", pool("d", phases=DECODE))
    view = fleet(queue, decoding, d, links={("p", "d"): Link(50e9)})
    for number in range(3):
        booked = request(f"r{number}")
        quote = view.quote(booked, decoding, decoding, 0.0)
        view.first_token(view.reserve(booked, Placement(decoding, decoding, quote), 0.0), 0.0)
    waiting = request("waiting", prompt_tokens=5000)
    view.reserve(waiting, Placement(queue, d, view.quote(waiting, queue, d, 0.0)), 0.0)
    assert same_as_scanned(view, request(tpot_s=0.02)).prefill is queue
    assert same_as_scanned(view, request(ttft_s=0.4, tpot_s=0.02)).prefill is decoding


def test_a_cheapest_pair_on_the_very_edge_of_the_promise_is_quoted_before_it_is_believed() -> None:
    """The promise is the next smaller number than the quote allows; sums of arrays cannot tell, quotes can."""
    cheap = worker("cheap", pool("cheap", usd_per_hour=1.0))
    dear = worker("dear", pool("dear", usd_per_hour=9.0, predictor=SteadyPredictor(step_seconds=0.001)))
    policy = CostSlo(margin=1.0)
    placed = policy.place(request(tpot_s=float(np.nextafter(0.01, 0.0))), fleet(cheap, dear), 0.0)
    assert placed is not None
    assert placed.decode is dear


def test_apis_that_take_part_in_hand_overs_are_quoted_pair_by_pair() -> None:
    api = worker("api", pool("api", price=ApiPrice(1.0, 2.0)))
    view = fleet(worker("p", pool("p", phases=PREFILL)), api, links={("p", "api"): Link(50e9)})
    assert view.offers(request(), 0.0) is None
    assert same_as_scanned(view, request()).decode is api


def test_nobody_offers_an_unknown_model() -> None:
    assert fleet(worker()).offers(request(model_name="other"), 0.0) is None
    assert CostSlo().place(request(model_name="other"), fleet(worker()), 0.0) is None


def test_lengths_of_prompts_are_forgotten_before_they_are_too_many() -> None:
    one = worker()
    prompts = Columns((one,), {}, 1.0).prompts
    kept = [prompts.of(tokens) for tokens in range(MOST_LENGTHS)]
    assert prompts.of(7) is kept[7]
    assert prompts.of(MOST_LENGTHS).alone_s(one.pool) == pytest.approx(MOST_LENGTHS * 1e-4)
    assert prompts.of(7) is not kept[7]


@FEW
@given(data=st.data())
def test_after_a_price_change_it_still_does(data: st.DataObject) -> None:
    view = data.draw(fleets())
    now = busy(data.draw, view)
    pool = data.draw(st.sampled_from(view.workers)).pool
    usd = data.draw(st.sampled_from([0.0, 0.5, 3.0, 40.0]))
    price = ApiPrice(usd, usd)
    billing = Billing(BillingKind.METERED, price=price) if pool.metered else Billing(BillingKind.ON_DEMAND, usd)
    asked = data.draw(requests(1000))
    assert CostSlo().place(asked, view, now) == CostSlo().scan(asked, view, now)
    view.reprice(pool.name, billing)
    assert CostSlo().place(asked, view, now) == CostSlo().scan(asked, view, now)
