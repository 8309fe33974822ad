from __future__ import annotations

from dataclasses import replace

import pytest
from builders import DECODE, PREFILL, fleet, pool, request, worker

from devices.worker import Link, Worker
from policies.api import Placement, Request
from policies.prefix_affinity import PrefixAffinity
from policies.table import PolicyError, load
from router.fleet import Fleet


def asked(id: str, *blocks: int, prompt_tokens: int = 4000) -> Request:
    return replace(request(id, prompt_tokens=prompt_tokens), prefix=blocks)


def placed(view: Fleet, sent: Request, policy: PrefixAffinity | None = None) -> Placement:
    """Chosen, booked, and prefilled at once."""
    placement = (policy or PrefixAffinity()).place(sent, view, 0.0)
    assert isinstance(placement, Placement)
    view.prefilled(view.reserve(sent, placement, 0.0), 0.0)
    return placement


def two() -> Fleet:
    return fleet(worker("a"), worker("b"))


def test_a_prompt_goes_where_its_head_is() -> None:
    view = two()
    heads = [(1, 2, 3, 4), (6, 7, 8, 9)]
    first = [placed(view, asked(f"first {head}", *head)).decode for head in heads]
    assert [one.name for one in first] == ["a", "b"]
    again = [placed(view, asked(f"again {head}", *head)).decode for head in reversed(heads)]
    assert again == first[::-1]


def test_a_long_queue_outweighs_a_short_head() -> None:
    view = two()
    a, b = view.workers
    placed(view, asked("first", 1))
    waiting = request("waiting", prompt_tokens=600)
    view.reserve(waiting, Placement(a, a, view.quote(waiting, a, a, 0.0)), 0.0)
    assert placed(view, asked("again", 1)).decode is b


@pytest.mark.parametrize(("decode_tokens", "stay"), [(256, 7), (512, 3)])
def test_a_head_that_everybody_asks_for_spreads(decode_tokens: int, stay: int) -> None:
    """2,048 tokens held: as many requests of `decode_tokens` are let in before the other worker gets one."""
    view, policy = two(), PrefixAffinity(decode_tokens)
    a, b = view.workers
    order: list[Worker] = [placed(view, asked(f"r{k}", 1, 2, 3, 4), policy).decode for k in range(stay + 3)]
    assert order[: stay + 2] == [a] * (stay + 1) + [b]


def test_without_a_prefix_the_fewest_tokens_to_go_win() -> None:
    view = two()
    names = [placed(view, request(f"r{number}")).decode.name for number in range(6)]
    assert names == ["a", "b"] * 3


def test_ties_go_to_the_fewest_requests() -> None:
    view = two()
    a, b = view.workers
    held = view.reserve(request("r"), Placement(a, a, view.quote(request("r"), a, a, 0.0)), 0.0)
    view.prefilled(held, 0.0)
    assert placed(view, request("next"), PrefixAffinity(decode_tokens=0)).decode is b


def test_in_a_split_the_prefill_worker_with_the_head_is_chosen() -> None:
    prefillers = [worker(f"p-{k}", pool("p", phases=PREFILL)) for k in range(3)]
    view = fleet(*prefillers, worker("d", pool("d", phases=DECODE)), links={("p", "d"): Link(50e9)})
    for number in range(3):
        placed(view, asked(f"first {number}", 10 * number, 10 * number + 1, 10 * number + 2))
    assert placed(view, asked("again", 10, 11, 12)).prefill is prefillers[1]


def test_a_request_in_flight_cannot_count_for_less_than_nothing() -> None:
    with pytest.raises(PolicyError, match="decode_tokens must not be negative, but is -1"):
        load("prefix-affinity", {"decode_tokens": -1})
