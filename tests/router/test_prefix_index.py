from __future__ import annotations

from dataclasses import replace

import pytest
from builders import BOTH, DECODE, PREFILL, fleet, pool, request, worker
from hypothesis import given
from hypothesis import strategies as st

from devices.worker import ApiPrice, Link, Worker
from policies.api import Placement, Request
from policies.round_robin import RoundRobin
from router.fleet import Fleet
from router.load import WorkerReport
from router.prefix_index import FEW, PrefixIndex
from router.scheduler import End, Scheduler

ROWS = 3 * FEW


def asked(id: str = "r", *blocks: int, prompt_tokens: int = 2000) -> Request:
    return replace(request(id, prompt_tokens=prompt_tokens), prefix=blocks)


def send(view: Fleet, sent: Request, prefill: Worker, decode: Worker) -> None:
    view.reserve(sent, Placement(prefill, decode, view.quote(sent, prefill, decode, 0.0)), 0.0)


def test_only_blocks_that_lead_without_a_gap_count() -> None:
    index = PrefixIndex([10, 10])
    index.sent(0, (1, 2, 3))
    index.sent(1, (1,))
    assert [list(index.held_by_all(prefix)) for prefix in [(1, 2, 3, 4), (1, 9, 3), (2, 3), ()]] == [
        [3, 1],
        [1, 1],
        [2, 0],
        [0, 0],
    ]


def test_the_least_recently_sent_is_forgotten_first_and_a_tail_before_its_head() -> None:
    index = PrefixIndex([4])
    index.sent(0, (1, 2, 3))
    index.sent(0, (7, 8))
    assert (index.held(0, (1, 2, 3)), index.held(0, (7, 8))) == (2, 2)
    index.sent(0, (1, 2))
    index.sent(0, (9,))
    assert (index.held(0, (1, 2)), index.held(0, (7, 8)), index.held(0, (9,))) == (2, 1, 1)


def test_a_prompt_longer_than_the_cache_leaves_its_head_there() -> None:
    index = PrefixIndex([2])
    index.sent(0, (1, 2, 3, 4))
    assert index.held(0, (1, 2, 3, 4)) == 2


Steps = list[tuple[int, int, int]]
"""(row, first block or -1 to forget the row, length)."""


@given(
    steps=st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(-1, 5), st.integers(1, 6)), max_size=60),
    everybody=st.integers(0, 6),
)
def test_what_all_hold_is_what_each_holds_and_nothing_is_left_of_the_forgotten(steps: Steps, everybody: int) -> None:
    index = PrefixIndex([5] * ROWS)
    for row in range(ROWS):
        index.sent(row, tuple(range(everybody)))
    for row, first, length in steps:
        if first < 0:
            index.forget(row)
        else:
            index.sent(row, tuple(range(first, first + length)))
    for first in range(6):
        prefix = tuple(range(first, 9))
        held = [index.held(row, prefix) for row in range(ROWS)]
        assert list(index.held_by_all(prefix)) == held
        assert max(held) <= 5
    for row in range(ROWS):
        index.forget(row)
    assert not index._holders


def test_a_worker_holds_the_heads_it_was_sent_all_but_the_last_token() -> None:
    view = fleet(worker("a"), worker("b"))
    a, b = view.workers
    send(view, asked("first", 1, 2, prompt_tokens=1024), a, a)
    assert view.cached_tokens(asked("again", 1, 2, prompt_tokens=1024), a) == 1023
    assert view.cached_tokens(asked("longer", 1, 2, 3), a) == 1024
    assert view.cached_tokens(asked("longer", 1, 2, 3), b) == 0
    assert view.cached_tokens(request("no prefix"), a) == 0
    assert list(view.cached(asked("longer", 1, 2, 3), view.decoders(request()))) == [1024, 0]
    assert list(view.cached(asked("longer", 1, 2, 3), [b, a])) == [0, 1024]


def test_how_much_a_block_stands_for_is_set_on_the_fleet() -> None:
    view = Fleet((worker("a"),), {}, prefix_tokens=16)
    [a] = view.workers
    send(view, asked("first", 1, 2), a, a)
    assert view.cached_tokens(asked("next", 1, 2, 3), a) == 32


def test_a_cached_head_is_neither_quoted_nor_booked_again() -> None:
    view = fleet(worker("a"))
    [a] = view.workers
    send(view, asked("first", 1, 2), a, a)
    load = view.load(a)
    before_s = load.prefill_wait_s(0.0)
    second = asked("second", 1, 2)
    quote = view.quote(second, a, a, 0.0)
    assert quote.ttft_s == pytest.approx(before_s + (2000 - 1024) * 1e-4)
    held = view.reserve(second, Placement(a, a, quote), 0.0)
    assert load.queued_prefill_tokens == 2000 + 2000 - 1024
    assert load.prefill_wait_s(0.0) == pytest.approx(before_s + (2000 - 1024) * 1e-4)
    view.release(held, 0.0)
    assert load.queued_prefill_tokens == 2000


def test_the_worker_that_prefills_holds_the_head() -> None:
    view = fleet(
        worker("p", pool("p", phases=PREFILL)), worker("d", pool("d", phases=DECODE)), links={("p", "d"): Link(50e9)}
    )
    p, d = view.workers
    send(view, asked("first", 1), p, d)
    assert [view.cached_tokens(asked("next", 1), one) for one in (p, d)] == [512, 0]


def test_nothing_is_known_of_what_an_api_holds() -> None:
    view = fleet(worker("api", pool("api", phases=BOTH, price=ApiPrice(1.0, 2.0))))
    [api] = view.workers
    send(view, asked("first", 1), api, api)
    assert view.cached_tokens(asked("next", 1), api) == 0


def test_a_lost_worker_comes_back_with_an_empty_cache() -> None:
    scheduler = Scheduler(fleet(worker("a")), RoundRobin())
    [a] = scheduler.fleet.workers
    scheduler.submit(asked("first", 1), 0.0)
    scheduler.report("a", WorkerReport(1, 0, 0.1, 0.5), 0.5)
    assert scheduler.fleet.cached_tokens(asked("next", 1), a) == 512
    scheduler.worker_lost("a", 1.0)
    scheduler.worker_found("a", 2.0)
    assert scheduler.fleet.cached_tokens(asked("next", 1), a) == 0
    scheduler.attempt_ended("first", 1, End.FAILED, 0, 3.0)
    assert scheduler.fleet.idle
