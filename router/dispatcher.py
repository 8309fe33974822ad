"""The scheduler's shell: one future per attempt, one timer, and every decision acted on in the step that made it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

from policies.api import Placement, Reject, Request
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler

Key = tuple[str, int]


class Dispatcher:
    """Hands events to the scheduler and decisions to those who wait for them."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._waiting: dict[Key, asyncio.Future[Placement | Reject]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = math.inf

    def place(self, request: Request) -> Attempt:
        """Hold a placement for as long as the block runs, however it ends: `async with place(request) as attempt`."""
        return Attempt(self, request)

    def report(self, worker: str, report: WorkerReport) -> None:
        """A worker said how busy it is."""
        self._act(self._scheduler.report(worker, report, self._clock()))

    def worker_lost(self, worker: str) -> None:
        """A worker does not answer; nothing new is placed on it."""
        if self.routable(worker):
            self._act(self._scheduler.worker_lost(worker, self._clock()))

    def worker_found(self, worker: str) -> None:
        """A worker answers again."""
        if not self.routable(worker):
            self._act(self._scheduler.worker_found(worker, self._clock()))

    def routable(self, worker: str) -> bool:
        """Whether new requests may be placed on it."""
        fleet = self._scheduler.fleet
        return fleet.is_routable(fleet.by_name[worker])

    def close(self) -> None:
        """Stop the timer; requests still waiting are the gateway's to end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # what an attempt does

    def _submit(self, request: Request) -> asyncio.Future[Placement | Reject]:
        decided: asyncio.Future[Placement | Reject] = asyncio.get_running_loop().create_future()
        self._waiting[request.id, request.attempt] = decided
        self._act(self._scheduler.submit(request, self._clock()))
        return decided

    def _ended(self, key: Key, end: End, output_tokens: int) -> None:
        self._waiting.pop(key, None)
        self._act(self._scheduler.attempt_ended(*key, end, output_tokens, self._clock()))

    def _prefilled(self, key: Key) -> None:
        self._act(self._scheduler.prefilled(*key, self._clock()))

    def _first_token(self, key: Key) -> None:
        self._act(self._scheduler.first_token(*key, self._clock()))

    def _progress(self, key: Key, output_tokens: int) -> None:
        self._act(self._scheduler.progress(*key, output_tokens, self._clock()))

    def _act(self, decisions: Iterable[Decision]) -> None:
        """Wake who waits. A placement for one who left is given back at once, which may place others."""
        todo = deque(decisions)
        while todo:
            decision = todo.popleft()
            key = decision.request.id, decision.request.attempt
            decided = self._waiting.get(key)
            if decided is not None and not decided.done():
                decided.set_result(decision.outcome)
            else:
                todo.extend(self._scheduler.attempt_ended(*key, End.CANCELLED, 0, self._clock()))
        self._arm()

    def _arm(self) -> None:
        """Keep one timer, never later than `next_wake_s`. A timer that turns out early is set again when it fires."""
        wake_s = self._scheduler.next_wake_s
        if wake_s >= self._timer_at_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = wake_s
        self._timer = asyncio.get_running_loop().call_later(max(wake_s - self._clock(), 0.0), self._fire)

    def _fire(self) -> None:
        self._timer, self._timer_at_s = None, math.inf
        now = self._clock()
        self._act(self._scheduler.tick(now) if self._scheduler.next_wake_s <= now else ())


class Attempt:
    """One attempt at a request: what it was given, and its news to the scheduler.

    Attributes:
        outcome: the decision; set inside the block.
        end: how the block is to be booked. Unless it is set, a block that ends well has FINISHED, one that is
            cancelled was CANCELLED, and any other exception means FAILED.
        output_tokens: seen so far.
    """

    __slots__ = ("_dispatcher", "_kept", "_key", "end", "outcome", "output_tokens", "request")

    outcome: Placement | Reject

    def __init__(self, dispatcher: Dispatcher, request: Request) -> None:
        self.request = request
        self.end: End | None = None
        self.output_tokens = 0
        self._dispatcher = dispatcher
        self._key = request.id, request.attempt
        self._kept = False

    async def __aenter__(self) -> Attempt:
        try:
            self.outcome = await self._dispatcher._submit(self.request)
        except BaseException:  # cancelled while waiting, or in the very step that placed it
            self.release(End.CANCELLED)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._kept:
            self.release(self.end or _end(error))

    @property
    def call_id(self) -> str:
        """The request id workers are told; engines want one per attempt."""
        request = self.request
        return request.id if request.attempt == 1 else f"{request.id}-{request.attempt}"

    def prefilled(self) -> None:
        """The prefill leg ended well."""
        self._dispatcher._prefilled(self._key)

    def first_token(self) -> None:
        """The first output token was seen."""
        self._dispatcher._first_token(self._key)

    def progress(self, output_tokens: int) -> None:
        """So many output tokens were seen so far."""
        self.output_tokens = output_tokens
        self._dispatcher._progress(self._key, output_tokens)

    def keep(self) -> None:
        """The reservations outlive the block; whoever calls this calls `release` later."""
        self._kept = True

    def release(self, end: End) -> None:
        """Give everything back. A second call changes nothing."""
        self._dispatcher._ended(self._key, end, self.output_tokens)


def _end(error: BaseException | None) -> End:
    match error:
        case None:
            return End.FINISHED
        case asyncio.CancelledError() | ConnectionError():  # the client left: told to us, or noticed by a write
            return End.CANCELLED
        case _:
            return End.FAILED
