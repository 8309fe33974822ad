"""A worker run against a clock: tokens on time, lateness not kept, slow readers cut off."""

from __future__ import annotations

import asyncio
import math

import pytest
from simulated_workers import HandClock, OneSecondSteps

from devices.simulated.engine import Sequence, SimulatedWorker, State
from devices.simulated.pacer import MAX_BEHIND_TOKENS, Pacer, Stream, WallClock
from devices.simulated.vllm_metrics import VllmMetrics
from devices.worker import Limits


def paced() -> tuple[Pacer, HandClock]:
    clock = HandClock()
    worker = SimulatedWorker(OneSecondSteps(), Limits(64_000, 8, False, 2000, 64_000), skip=False, list_decoded=True)
    return Pacer(worker, clock, VllmMetrics(worker, "m")), clock


def stream(output_tokens: int = 3, transfer_s: float | None = None) -> Stream:
    cuts: list[int] = []
    made = Stream(Sequence("a", 100, output_tokens, transfer_s=transfer_s), "stop", lambda: cuts.append(1))
    made.cuts = cuts  # type: ignore[attr-defined]
    return made


def test_tokens_come_at_their_model_time() -> None:
    pacer, clock = paced()
    a = stream()
    pacer.start(a)
    seen = []
    for now in (1.9, 2.0, 2.9, 3.0, 4.0):
        clock.move_to(now)
        seen.append(a.tokens)
    assert seen == [0, 1, 1, 2, 3]


def test_a_late_wake_up_delays_no_later_token() -> None:
    pacer, clock = paced()
    a = stream(output_tokens=5)
    pacer.start(a)
    clock.now_s = 4.5  # the loop was busy and no timer fired
    pacer.pump()
    assert a.tokens == 3
    clock.move_to(5.0)
    assert a.tokens == 4


async def test_a_reader_waits_for_as_many_tokens_as_it_wants() -> None:
    pacer, clock = paced()
    a = stream(output_tokens=4)
    pacer.start(a)
    reader = asyncio.ensure_future(a.reach(3))
    await asyncio.sleep(0)
    clock.move_to(3.0)
    await asyncio.sleep(0)
    assert not reader.done()
    clock.move_to(4.0)
    assert await reader == 3
    assert await a.reach(1) == 3


async def test_a_cancelled_reader_does_not_disturb_the_others() -> None:
    pacer, clock = paced()
    a = stream()
    pacer.start(a)
    reader = asyncio.ensure_future(a.reach(1))
    await asyncio.sleep(0)
    reader.cancel()
    clock.move_to(10.0)
    assert a.tokens == 3
    with pytest.raises(asyncio.CancelledError):
        await reader


def test_a_reader_blocked_in_a_write_is_cut_off_when_too_much_has_piled_up() -> None:
    pacer, clock = paced()
    a = stream(output_tokens=9000)
    pacer.start(a)
    clock.move_to(101.0)
    a.stall_at = a.tokens + MAX_BEHIND_TOKENS
    clock.move_to(100.0 + MAX_BEHIND_TOKENS)
    assert a.cuts == []  # type: ignore[attr-defined]
    clock.move_to(9000.0)
    assert a.cuts == [1]  # type: ignore[attr-defined]
    assert (a.sequence.state, pacer.worker.kv_tokens, pacer.worker.aborted) == (State.ABORTED, 0, 1)


def test_a_reader_that_is_merely_late_is_not_cut_off() -> None:
    pacer, clock = paced()
    a = stream(output_tokens=9000)
    pacer.start(a)
    clock.now_s = 20_000.0
    pacer.pump()
    assert (a.tokens, a.cuts) == (9000, [])  # type: ignore[attr-defined]


def test_abort_counts_what_happened_before_it() -> None:
    pacer, clock = paced()
    a = stream()
    pacer.start(a)
    clock.now_s = 60.0
    pacer.abort(a)
    assert (a.tokens, a.sequence.state, pacer.worker.aborted) == (3, State.FINISHED, 0)


def test_the_arrival_of_kv_is_announced_when_it_happens() -> None:
    pacer, clock = paced()
    a = stream(transfer_s=7.25)
    pacer.start(a)
    clock.move_to(7.0)
    assert not a.changed.is_set()
    clock.move_to(7.25)
    assert a.changed.is_set()


def test_nothing_is_set_to_happen_on_an_idle_worker_or_after_close() -> None:
    pacer, clock = paced()
    a = stream()
    pacer.start(a)
    pacer.close()
    clock.move_to(50.0)
    assert a.tokens == 0
    pacer.pump()
    assert (a.tokens, pacer.worker.next_event_s) == (3, math.inf)
    assert all(timer.callback is None for timer in clock._timers)


async def test_the_wall_clock_calls_back_no_earlier_than_asked_whatever_its_speed() -> None:
    clock = WallClock(speed=50.0)
    called = asyncio.get_running_loop().create_future()
    at_s = clock.now_s + 0.5
    clock.call_at(at_s, lambda: called.set_result(clock.now_s))
    clock.call_at(clock.now_s - 1.0, lambda: None)
    assert await called >= at_s - 0.05  # the loop's own timers are exact to 1 ms of wall time
