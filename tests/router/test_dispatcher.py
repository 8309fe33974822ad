from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from builders import fleet, pool, request, worker

from policies.api import FleetView, Placement, Reject, Request
from policies.least_load import LeastLoad
from router.dispatcher import Dispatcher
from router.scheduler import End, Scheduler


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def one_slot() -> tuple[Scheduler, Dispatcher, Clock]:
    """A worker with one hard slot: the second request waits for the first."""
    clock = Clock()
    scheduler = Scheduler(fleet(worker("w", pool(hard_slots=True, max_seqs=1))), LeastLoad(), queue_timeout_s=5.0)
    return scheduler, Dispatcher(scheduler, clock), clock


async def hold(dispatcher: Dispatcher, of: Request, placed: asyncio.Event, leave: asyncio.Event) -> None:
    async with dispatcher.place(of) as attempt:
        assert isinstance(attempt.outcome, Placement)
        placed.set()
        await leave.wait()


async def step() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def at_rest(scheduler: Scheduler) -> bool:
    return scheduler.fleet.idle and not scheduler.waiting and not scheduler.reserved


async def test_a_placement_is_held_while_the_block_runs_and_no_longer() -> None:
    scheduler, dispatcher, _ = one_slot()
    async with dispatcher.place(request()) as attempt:
        assert isinstance(attempt.outcome, Placement)
        assert scheduler.reserved == 1
    assert at_rest(scheduler)


async def test_a_block_that_raises_gives_everything_back() -> None:
    scheduler, dispatcher, _ = one_slot()
    with pytest.raises(RuntimeError):
        async with dispatcher.place(request()):
            raise RuntimeError
    assert at_rest(scheduler)


@pytest.mark.parametrize("first_leaves_first", [True, False])
async def test_whoever_is_cancelled_first_nothing_stays_reserved(first_leaves_first: bool) -> None:
    scheduler, dispatcher, _ = one_slot()
    events = [asyncio.Event() for _ in range(6)]
    tasks = [
        asyncio.create_task(hold(dispatcher, request(f"r{n}"), events[2 * n], events[2 * n + 1])) for n in range(3)
    ]
    await events[0].wait()
    await step()
    assert scheduler.waiting == 2
    for task in tasks if first_leaves_first else reversed(tasks):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert at_rest(scheduler)
    dispatcher.close()


async def test_a_waiter_cancelled_in_the_very_step_that_placed_it_gives_the_place_to_the_next() -> None:
    scheduler, dispatcher, _ = one_slot()
    events = [asyncio.Event() for _ in range(6)]
    tasks = [
        asyncio.create_task(hold(dispatcher, request(f"r{n}"), events[2 * n], events[2 * n + 1])) for n in range(3)
    ]
    await events[0].wait()
    await step()
    tasks[0].cancel()
    while not dispatcher._waiting["r1", 1].done():  # noqa: ASYNC110 - the point is to be there before the waiter is
        await asyncio.sleep(0)
    tasks[1].cancel()
    await events[4].wait()
    assert not events[2].is_set()
    events[5].set()
    await tasks[2]
    assert at_rest(scheduler)
    dispatcher.close()


async def test_both_cancelled_in_one_step_leave_nothing_in_either_order() -> None:
    for order in ([0, 1], [1, 0]):
        scheduler, dispatcher, _ = one_slot()
        events = [asyncio.Event() for _ in range(4)]
        tasks = [
            asyncio.create_task(hold(dispatcher, request(f"r{n}"), events[2 * n], events[2 * n + 1])) for n in range(2)
        ]
        await events[0].wait()
        await step()
        for index in order:
            tasks[index].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert at_rest(scheduler)
        dispatcher.close()


async def test_the_timer_rejects_what_waits_too_long() -> None:
    scheduler = Scheduler(fleet(worker("w", pool(hard_slots=True, max_seqs=1))), LeastLoad(), queue_timeout_s=0.01)
    dispatcher = Dispatcher(scheduler, asyncio.get_running_loop().time)
    async with dispatcher.place(request("r1")), dispatcher.place(request("r2")) as attempt:
        assert isinstance(attempt.outcome, Reject)
        assert attempt.outcome.reason == "deadline"
    assert at_rest(scheduler)


async def test_a_kept_attempt_holds_its_reservations_until_it_is_released() -> None:
    scheduler, dispatcher, _ = one_slot()
    async with dispatcher.place(request()) as attempt:
        attempt.keep()
    assert scheduler.reserved == 1
    attempt.release(End.CANCELLED)
    attempt.release(End.CANCELLED)
    assert at_rest(scheduler)


async def test_how_the_block_ended_is_what_is_booked() -> None:
    ends: list[End] = []

    class Booked(Scheduler):
        def attempt_ended(self, request_id: str, attempt: int, end: End, output_tokens: int, now: float):  # type: ignore[no-untyped-def]
            ends.append(end)
            return super().attempt_ended(request_id, attempt, end, output_tokens, now)

    async def run(block: Callable[[], None]) -> None:
        async with Dispatcher(Booked(fleet(), LeastLoad()), Clock()).place(request()):
            block()

    def fail() -> None:
        raise RuntimeError

    def cancel() -> None:
        raise asyncio.CancelledError

    await run(lambda: None)
    with pytest.raises(RuntimeError):
        await run(fail)
    with pytest.raises(asyncio.CancelledError):
        await run(cancel)
    assert ends == [End.FINISHED, End.FAILED, End.CANCELLED]


async def test_a_lost_worker_rejects_those_who_wait_for_it_and_a_found_one_serves_again() -> None:
    _, dispatcher, _ = one_slot()
    placed, leave = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(dispatcher, request("r1"), placed, leave))
    await placed.wait()

    async def outcome() -> Placement | Reject:
        async with dispatcher.place(request("r2")) as attempt:
            return attempt.outcome

    waiter = asyncio.create_task(outcome())
    await step()
    dispatcher.worker_lost("w")
    rejected = await waiter
    assert isinstance(rejected, Reject)
    assert rejected.reason == "no_worker"
    leave.set()
    await holder
    dispatcher.worker_found("w")
    assert isinstance(await outcome(), Placement)
    dispatcher.close()


async def test_a_policy_that_answers_none_for_now_is_asked_again_by_the_timer() -> None:
    asked: list[float] = []

    class Later(LeastLoad):
        def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
            asked.append(now)
            return super().place(request, fleet, now) if len(asked) > 2 else None

    scheduler = Scheduler(fleet(), Later(), recheck_s=0.001)
    dispatcher = Dispatcher(scheduler, asyncio.get_running_loop().time)
    async with dispatcher.place(request()) as attempt:
        assert isinstance(attempt.outcome, Placement)
    assert len(asked) == 3
