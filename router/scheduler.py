"""Events in, decisions out. The one place where requests wait, and where reservations are made and given back.

Pure and synchronous: every method takes `now`, changes the state in one step and returns what was decided, so the
same object serves the gateway, the simulator and the replay of a journal. Reservations belong to (request, attempt);
late news of an attempt that is over changes nothing.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from policies.api import Placement, Policy, Reject, Request
from router.fleet import Fleet, Reservation
from router.load import WorkerReport

Key = tuple[str, int]
"""(request id, attempt)."""
Kind = tuple[str, str, int, bool]
"""What requests have in common that the same workers may take; they are served in order of arrival."""


class Decision(NamedTuple):
    """What becomes of one attempt."""

    request: Request
    outcome: Placement | Reject


class End(Enum):
    """How an attempt ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class _Waiting:
    request: Request
    expiry_s: float


class Scheduler:
    """Queues requests, asks the policy, books what it chose.

    Attributes:
        next_wake_s: call `tick` at this time; infinite while nothing waits.
        queue_limit: requests that may wait; one more is rejected as overloaded.
        queue_timeout_s: longest wait of a request without a nearer deadline.
        recheck_s: a waiting request is offered to the policy again at least this often, for policies whose answer
            depends on the time alone.
    """

    def __init__(
        self,
        fleet: Fleet,
        policy: Policy,
        *,
        queue_limit: int = 1000,
        queue_timeout_s: float = 60.0,
        recheck_s: float = 0.1,
    ) -> None:
        self.fleet = fleet
        self.next_wake_s = math.inf
        self._policy = policy
        self._queue_limit = queue_limit
        self._queue_timeout_s = queue_timeout_s
        self._recheck_s = recheck_s
        self._queue: dict[Key, _Waiting] = {}
        self._expiries: list[tuple[float, int, Key]] = []
        self._held: dict[Key, tuple[Request, Reservation]] = {}
        self._submitted = 0
        self._ends_per_s = 0.0
        self._ended_at_s = 0.0

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def reserved(self) -> int:
        """Attempts that hold a reservation."""
        return len(self._held)

    # events

    def submit(self, request: Request, now: float) -> list[Decision]:
        """A request arrived, or the next attempt at one."""
        key = request.id, request.attempt
        if key in self._queue or key in self._held:
            raise ValueError(f"attempt {request.attempt} of request {request.id} was submitted before")
        if not self.fleet.can_ever_serve(request):
            return [Decision(request, _no_worker(request))]
        full = len(self._queue) >= self._queue_limit
        if not self._queue or (full and not self._is_stuck(request)):
            placed = self._offer(request, now)
            if placed is not None:
                return [placed]
        if full:
            return [Decision(request, self._overloaded(now))]
        self._enqueue(key, request, now)
        return self._drain(now) if len(self._queue) > 1 else self._wake_later(now, [])

    def prefilled(self, request_id: str, attempt: int, now: float) -> list[Decision]:
        """The prefill leg of a split ended well; the KV waits to be handed over."""
        if held := self._held.get((request_id, attempt)):
            self.fleet.prefilled(held[1], now)
            return self._drain(now)
        return []

    def first_token(self, request_id: str, attempt: int, now: float) -> list[Decision]:
        """The first output token was seen."""
        if held := self._held.get((request_id, attempt)):
            self.fleet.first_token(held[1], now)
            return self._drain(now)
        return []

    def progress(self, request_id: str, attempt: int, output_tokens: int, now: float) -> list[Decision]:
        """So many output tokens were seen; when they pass what is reserved, the reservation grows beyond them."""
        if held := self._held.get((request_id, attempt)):
            self.fleet.grown(held[1], output_tokens)
        return []

    def covered_tokens(self, request_id: str, attempt: int) -> int:
        """Output tokens up to which `progress` changes nothing; 0 for an attempt that holds nothing."""
        held = self._held.get((request_id, attempt))
        return held[1].output_tokens if held else 0

    def attempt_ended(self, request_id: str, attempt: int, end: End, output_tokens: int, now: float) -> list[Decision]:
        """An attempt is over, or its request is no longer wanted: all it holds is free, its place in the queue too."""
        key = request_id, attempt
        self._queue.pop(key, None)
        held = self._held.pop(key, None)
        if held is None:
            return self._wake_later(now, [])
        request, reservation = held
        self.fleet.release(reservation, now)
        if end is End.FINISHED:
            self.fleet.lengths.finished(request, output_tokens)
        self._count_end(now)
        return self._drain(now)

    def report(self, worker_name: str, report: WorkerReport, now: float) -> list[Decision]:
        """A worker said how busy it is."""
        self.fleet.load(self.fleet.by_name[worker_name]).reported(report)
        return self._drain(now)

    def worker_lost(self, worker_name: str, now: float) -> list[Decision]:
        """A worker is gone. Its attempts end by themselves; requests that nobody else can serve are rejected."""
        self.fleet.set_routable(self.fleet.by_name[worker_name], False)
        return self._drain(now)

    def worker_found(self, worker_name: str, now: float) -> list[Decision]:
        """A worker is there (again)."""
        self.fleet.set_routable(self.fleet.by_name[worker_name], True)
        return self._drain(now)

    def tick(self, now: float) -> list[Decision]:
        """Time passed: requests that waited too long are rejected, the others offered again."""
        return self._drain(now)

    # steps

    def _offer(self, request: Request, now: float) -> Decision | None:
        """Ask the policy; book what it chose. None: the request waits."""
        outcome = self._policy.place(request, self.fleet, now)
        if outcome is None:
            return None
        if isinstance(outcome, Placement):
            reservation = self.fleet.reserve(request, outcome, now)
            self._held[request.id, request.attempt] = request, reservation
        return Decision(request, outcome)

    def _enqueue(self, key: Key, request: Request, now: float) -> None:
        expiry_s = now + self._queue_timeout_s
        if request.slo.e2e_s is not None:
            expiry_s = min(expiry_s, request.arrival_s + request.slo.e2e_s)
        self._submitted += 1
        self._queue[key] = _Waiting(request, expiry_s)
        heapq.heappush(self._expiries, (expiry_s, self._submitted, key))

    def _drain(self, now: float) -> list[Decision]:
        """Reject what waited too long, then offer the queue in order of arrival.

        Once the policy leaves one request waiting, others of its kind behind it are not offered in this round.
        """
        if not self._queue:
            self.next_wake_s = math.inf
            return []
        decisions = self._expired(now)
        stuck: set[Kind] = set()
        for key, waiting in list(self._queue.items()):
            request = waiting.request
            kind = _kind(request)
            if kind in stuck and not request.avoid:
                continue
            decision = self._offer(request, now)
            if decision is None and not self.fleet.can_ever_serve(request):
                decision = Decision(request, _no_worker(request))
            if decision is None:
                stuck.add(kind)
            else:
                del self._queue[key]
                decisions.append(decision)
        return self._wake_later(now, decisions)

    def _is_stuck(self, request: Request) -> bool:
        """Whether one of its kind waits already."""
        kind = _kind(request)
        return any(_kind(waiting.request) == kind for waiting in self._queue.values())

    def _expired(self, now: float) -> list[Decision]:
        decisions = []
        while self._expiries and self._expiries[0][0] <= now:
            _, _, key = heapq.heappop(self._expiries)
            if waiting := self._queue.pop(key, None):
                reject = Reject("deadline", f"no worker was free within {now - waiting.request.arrival_s:.1f} s")
                decisions.append(Decision(waiting.request, reject))
        return decisions

    def _wake_later(self, now: float, decisions: list[Decision]) -> list[Decision]:
        while self._expiries and self._expiries[0][2] not in self._queue:
            heapq.heappop(self._expiries)
        self.next_wake_s = min(self._expiries[0][0], now + self._recheck_s) if self._expiries else math.inf
        return decisions

    def _count_end(self, now: float) -> None:
        """Ends per second over about the last 10 s, for Retry-After."""
        self._ends_per_s = self._ends_per_s * math.exp((self._ended_at_s - now) / 10) + 0.1
        self._ended_at_s = now

    def _overloaded(self, now: float) -> Reject:
        rate = self._ends_per_s * math.exp((self._ended_at_s - now) / 10)
        wait_s = min(max(len(self._queue) / rate, 1.0), self._queue_timeout_s) if rate > 0 else self._queue_timeout_s
        return Reject("overloaded", f"{len(self._queue)} requests are waiting for a worker", wait_s)


def _kind(request: Request) -> Kind:
    return request.model, request.traffic_class, request.min_bits, request.splittable


def _no_worker(request: Request) -> Reject:
    tokens = request.prompt_tokens + (request.max_tokens or 0)
    return Reject("no_worker", f"no worker in rotation can take {tokens} tokens for '{request.model}'", 1.0)
