"""A fleet in virtual time: the gateway's own scheduler and policies over simulated workers, one event after another.

Nothing here decides anything; the driver only tells the scheduler what a live fleet would tell it, at the same moments.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count

from devices.simulated.engine import DoesNotFit, Sequence, SimulatedWorker, State, Step
from devices.worker import BillingKind, Worker
from loadgen.gaps import Gaps
from loadgen.result import Result
from loadgen.trace import Row
from policies.api import Placement, Reject, Request
from policies.quote import kv_bytes
from router.exchange import PROGRESS_TOKENS
from router.ledger import Outcome
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler

PROBE_INTERVAL_S = 1.0
"""How often a live gateway asks its workers how busy they are, unless told otherwise."""

SPLIT_CALLS = 3
"""Calls behind a request that two workers serve, one after the other."""


class _Kind(IntEnum):
    """What happens; events of one moment happen in this order."""

    WORKER = 0
    HANDED_OVER = 1
    API_TOKEN = 2
    API_PROGRESS = 3
    API_END = 4
    WAKE = 5
    PROBE = 6
    ARRIVAL = 7


@dataclass(slots=True, eq=False)
class _Flight:
    """One request on its way. `sequence` is the leg that decodes, None while only the prefill leg runs.

    `told_tokens` is how much of the answer the scheduler has heard of, in steps of `PROGRESS_TOKENS` as live.
    """

    row: Row
    request: Request
    placement: Placement | None = None
    first_s: float | None = None
    sequence: Sequence | None = None
    told_tokens: int = 0


@dataclass(slots=True, eq=False)
class _Site:
    """One simulated worker and what the driver remembers of it.

    Attributes:
        due_s: the time of its event in the heap that counts; others are stale.
        steps: iterations so far; each gives every decoding sequence one token.
        progress: by iteration, requests of which the scheduler is to hear then.
        handovers: decode legs whose KV has not been seen to leave the prefill worker.
    """

    engine: SimulatedWorker
    due_s: float = math.inf
    steps: int = 0
    progress: dict[int, list[_Flight]] = field(default_factory=dict)
    handovers: list[_Flight] = field(default_factory=list)


class Simulation:
    """One policy under one workload.

    Attributes:
        results, gaps: of requests that ended, in order of their end.
        end_s: when the last request ended.

    `overhead_s` is what gateway, network and processes add to every call behind a request: one where a single worker
    serves it, three in a split (prefill leg, fetching the KV, decode leg). It is added to the times a client sees and
    changes no decision. It is 0 unless a live run was measured to need more.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        rows: Iterable[Row],
        request: Callable[[Row], Request],
        *,
        probe_interval_s: float = PROBE_INTERVAL_S,
        overhead_s: float = 0.0,
    ) -> None:
        self.results: list[Result] = []
        self.gaps = Gaps()
        self.end_s = 0.0
        self._scheduler = scheduler
        self._fleet = scheduler.fleet
        self._rows: Iterator[Row] = iter(rows)
        self._request = request
        self._probe_interval_s = probe_interval_s
        self._overhead_s = overhead_s
        # A decode worker renews the lease of KV it waits for, so in a fleet without faults no lease ever ends.
        self._sites = {
            worker.name: _Site(
                SimulatedWorker(worker.pool.predictor, worker.pool.limits, lease_s=math.inf, list_decoded=False)
            )
            for worker in self._fleet.workers
            if worker.pool.billing.kind is not BillingKind.METERED
        }
        self._flights: dict[str, _Flight] = {}
        self._events: list[tuple[float, _Kind, int, object]] = []
        self._numbers = count()
        self._touched: deque[str] = deque()
        self._wake_s = math.inf
        self._arriving = False

    def run(self) -> None:
        """Until every request has ended."""
        self._next_arrival()
        self._at(self._probe_interval_s, _Kind.PROBE)
        while self._flights or self._arriving:
            now, kind, _, what = heapq.heappop(self._events)
            self._happen(kind, what, now)
            self._settle(now)

    def _happen(self, kind: _Kind, what: object, now: float) -> None:
        match what:
            case Row():
                self._arrived(what, now)
            case str():
                if self._sites[what].due_s == now:
                    self._touched.append(what)
            case _Flight():
                self._flight_event(kind, what, now)
            case _ if kind is _Kind.PROBE:
                self._probe(now)
            case _:
                self._wake_s = math.inf
                self._act(self._scheduler.tick(now), now)

    def _at(self, when_s: float, kind: _Kind, what: object = None) -> None:
        heapq.heappush(self._events, (when_s, kind, next(self._numbers), what))

    # requests

    def _next_arrival(self) -> None:
        row = next(self._rows, None)
        self._arriving = row is not None
        if row is not None:
            self._at(row.arrival_s, _Kind.ARRIVAL, row)

    def _arrived(self, row: Row, now: float) -> None:
        request = self._request(row)
        self._flights[request.id] = _Flight(row, request)
        self._act(self._scheduler.submit(request, now), now)
        self._next_arrival()

    def _act(self, decisions: Iterable[Decision], now: float) -> None:
        for decision in decisions:
            flight = self._flights[decision.request.id]
            if isinstance(decision.outcome, Reject):
                self._ended(flight, Outcome.REJECTED, now, decision.outcome.message)
            else:
                flight.placement = decision.outcome
                self._place(flight, decision.outcome, now)

    def _place(self, flight: _Flight, placement: Placement, now: float) -> None:
        row, request = flight.row, flight.request
        if placement.prefill.name not in self._sites:
            self._call_api(flight, placement.decode, now)
        elif placement.split:
            self._submit(flight, placement.prefill, Sequence(request.id, row.input_tokens, 1, pin=True), now)
        else:
            flight.sequence = Sequence(request.id, row.input_tokens, row.output_tokens)
            self._submit(flight, placement.decode, flight.sequence, now)

    def _submit(self, flight: _Flight, worker: Worker, sequence: Sequence, now: float) -> None:
        try:
            self._sites[worker.name].engine.submit(sequence, now)
        except DoesNotFit as error:
            if sequence.kv_ready_s is not None and flight.placement is not None:
                self._release(flight.request.id, flight.placement.prefill.name, now)
            self._over(flight, End.FAILED, Outcome.FAILED, now, str(error))
            return
        self._touched.append(worker.name)
        if sequence.kv_ready_s is not None:
            self._sites[worker.name].handovers.append(flight)

    def _hand_over(self, flight: _Flight, placement: Placement, now: float) -> None:
        """The prefill leg is over: the decode leg starts, and the KV stays pinned until it has been fetched."""
        request = flight.request
        self._act(self._scheduler.prefilled(request.id, request.attempt, now), now)
        link = self._fleet.link(placement.prefill, placement.decode)
        if link is None:
            raise ValueError(f"no KV path from {placement.prefill.name} to {placement.decode.name}")
        tokens = flight.row.input_tokens
        ready_s = now + link.transfer_s(tokens, kv_bytes(placement.prefill, tokens))
        flight.sequence = Sequence(request.id, tokens, flight.row.output_tokens, kv_ready_s=ready_s)
        self._submit(flight, placement.decode, flight.sequence, now)

    def _call_api(self, flight: _Flight, worker: Worker, now: float) -> None:
        predictor, row = worker.pool.predictor, flight.row
        first_s = now + predictor.prefill_s(row.input_tokens)
        gap_s = predictor.decode_step_s(1, row.input_tokens)
        if row.output_tokens > 1:
            self.gaps.add(gap_s, row.output_tokens - 1)
        self._at(first_s, _Kind.API_TOKEN, flight)
        self._at(first_s + gap_s * (row.output_tokens - 1), _Kind.API_END, flight)

    def _flight_event(self, kind: _Kind, flight: _Flight, now: float) -> None:
        if kind is _Kind.API_TOKEN:
            self._first_token(flight, now)
            self._api_progress_later(flight, now)
        elif kind is _Kind.API_PROGRESS:
            self._progress(flight, now)
            self._api_progress_later(flight, now)
        elif kind is _Kind.API_END:
            self._over(flight, End.FINISHED, Outcome.COMPLETED, now)
        elif flight.placement is not None:
            self._release(flight.request.id, flight.placement.prefill.name, now)

    def _api_progress_later(self, flight: _Flight, now: float) -> None:
        told = flight.told_tokens
        if flight.placement is not None and told + PROGRESS_TOKENS <= flight.row.output_tokens:
            gaps = PROGRESS_TOKENS - (told == 0)  # the first token is there already
            gap_s = flight.placement.decode.pool.predictor.decode_step_s(1, flight.row.input_tokens)
            self._at(now + gaps * gap_s, _Kind.API_PROGRESS, flight)

    def _progress(self, flight: _Flight, now: float) -> None:
        flight.told_tokens += PROGRESS_TOKENS
        request = flight.request
        self._act(self._scheduler.progress(request.id, request.attempt, flight.told_tokens, now), now)

    def _first_token(self, flight: _Flight, now: float) -> None:
        flight.first_s = now
        self._act(self._scheduler.first_token(flight.request.id, flight.request.attempt, now), now)

    def _over(self, flight: _Flight, end: End, outcome: Outcome, now: float, message: str = "") -> None:
        """An attempt ends; here every request has one attempt, for no simulated worker fails."""
        tokens = flight.row.output_tokens if end is End.FINISHED else 0
        request = flight.request
        self._ended(flight, outcome, now, message)
        self._act(self._scheduler.attempt_ended(request.id, request.attempt, end, tokens, now), now)

    def _ended(self, flight: _Flight, outcome: Outcome, now: float, message: str) -> None:
        del self._flights[flight.request.id]
        self.end_s = now
        placement, request = flight.placement, flight.request
        overhead_s = self._overhead_s * (SPLIT_CALLS if placement is not None and placement.split else 1)
        self.results.append(
            Result(
                arrival_s=flight.row.arrival_s,
                outcome=outcome,
                traffic_class=request.traffic_class,
                slo=request.slo,
                ttft_s=None if flight.first_s is None else flight.first_s - flight.row.arrival_s + overhead_s,
                e2e_s=now - flight.row.arrival_s + overhead_s,
                prompt_tokens=request.prompt_tokens,
                output_tokens=flight.row.output_tokens if outcome is Outcome.COMPLETED else 0,
                prefill="" if placement is None else placement.prefill.name,
                decode="" if placement is None else placement.decode.name,
                message=message,
            )
        )

    # workers

    def _settle(self, now: float) -> None:
        """Hear every worker that was touched until none has news of this moment, then set the timers."""
        while self._touched:
            name = self._touched.popleft()
            site = self._sites[name]
            for step in site.engine.advance(now):
                self._stepped(site, step)
            if site.handovers:
                self._watch_handovers(site)
            next_s = site.engine.next_event_s
            if next_s != site.due_s:
                site.due_s = next_s
                if next_s < math.inf:
                    self._at(next_s, _Kind.WORKER, name)
        if self._scheduler.next_wake_s < self._wake_s:
            self._wake_s = max(self._scheduler.next_wake_s, now)
            self._at(self._wake_s, _Kind.WAKE)

    def _stepped(self, site: _Site, step: Step) -> None:
        now = step.end_s
        site.steps += 1
        if step.tokens > len(step.first):
            self.gaps.add(now - step.start_s, step.tokens - len(step.first))
        for sequence in step.first:
            if not sequence.pin:
                flight = self._flights[sequence.id]
                self._first_token(flight, now)
                self._progress_later(site, flight, PROGRESS_TOKENS - 1)
        for flight in site.progress.pop(site.steps, ()):
            self._progress(flight, now)
            self._progress_later(site, flight, PROGRESS_TOKENS)
        for sequence in step.finished:
            flight = self._flights[sequence.id]
            if not sequence.pin:
                self._over(flight, End.FINISHED, Outcome.COMPLETED, now)
            elif flight.placement is not None:
                self._hand_over(flight, flight.placement, now)

    def _progress_later(self, site: _Site, flight: _Flight, steps: int) -> None:
        if flight.told_tokens + PROGRESS_TOKENS <= flight.row.output_tokens:
            site.progress.setdefault(site.steps + steps, []).append(flight)

    def _watch_handovers(self, site: _Site) -> None:
        """KV leaves the prefill worker once it has arrived; when that is, is known when the decode leg is admitted."""
        waiting = []
        for flight in site.handovers:
            sequence = flight.sequence
            if sequence is None or sequence.state is State.WAITING or sequence.kv_ready_s is None:
                waiting.append(flight)
            else:
                self._at(sequence.kv_ready_s, _Kind.HANDED_OVER, flight)
        site.handovers = waiting

    def _release(self, request_id: str, name: str, now: float) -> None:
        self._sites[name].engine.release(request_id, now)
        self._touched.append(name)

    def _probe(self, now: float) -> None:
        for name, site in self._sites.items():
            engine = site.engine
            report = WorkerReport(
                running=engine.running,
                waiting=engine.waiting + engine.transferring,
                kv_usage=engine.kv_tokens / engine.limits.kv_tokens,
                at_s=now,
            )
            self._act(self._scheduler.report(name, report, now), now)
        if not self._events:
            raise RuntimeError(f"{len(self._flights)} requests are in flight and nothing will ever happen: a bug")
        self._at(now + self._probe_interval_s, _Kind.PROBE)
