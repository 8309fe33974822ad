"""A fleet in virtual time: the gateway's own scheduler and policies over simulated workers, one event after another.

Nothing here decides anything; the driver only tells the scheduler what a live fleet would tell it, at the same moments.
News without effect is not told: an answer's length is, as live, only in steps of `PROGRESS_TOKENS`, and only when it
outgrows what is reserved for it.
"""

from __future__ import annotations

import gc
import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import count

from devices.simulated.engine import DoesNotFit, Sequence, SimulatedWorker, Step
from devices.worker import BillingKind, Link, Predictor, Worker
from loadgen.gaps import Gaps
from loadgen.results import Results
from loadgen.site import Flight, Site
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


class Kind(IntEnum):
    """What happens; events of one moment happen in this order, then by number, and arrivals come last."""

    WORKER = 0
    HANDED_OVER = 1
    API_TOKEN = 2
    API_PROGRESS = 3
    API_END = 4
    FAULT = 5
    WAKE = 6
    PROBE = 7


_WORKER = int(Kind.WORKER)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Nothing in a simulation refers to itself, so looking for cycles among its many small objects is a sixth of it."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Simulation:
    """One policy under one workload.

    Attributes:
        results, gaps: of requests that ended, in order of their end.
        end_s: when the last request ended.

    `overhead_s` is what gateway, network and processes add to every call behind a request: one where a single worker
    serves it, three in a split (prefill leg, fetching the KV, decode leg). It is added to the times a client sees and
    changes no decision. It is 0 unless a live run was measured to need more.
    """

    _surprises = False
    """Whether workers can do anything that the scheduler has not caused. If not, their reports tell it what it knows,
    and only make it look again at the requests that wait."""

    def __init__(
        self,
        scheduler: Scheduler,
        rows: Iterable[Row],
        request: Callable[[Row], Request],
        *,
        probe_interval_s: float = PROBE_INTERVAL_S,
        overhead_s: float = 0.0,
    ) -> None:
        self.results = Results()
        self.gaps = Gaps()
        self.end_s = 0.0
        self._scheduler = scheduler
        self._fleet = scheduler.fleet
        self._rows: Iterator[Row] = iter(rows)
        self._request = request
        self._probe_interval_s = probe_interval_s
        self._overhead_s = overhead_s
        self._links: dict[tuple[str, str], Link | None] = {**self._fleet.links}
        self._sites = {
            worker.name: Site(number, worker, self._engine(worker))
            for number, worker in enumerate(self._fleet.workers)
            if worker.pool.billing.kind is not BillingKind.METERED
        }
        self._flights: dict[str, Flight] = {}
        self._events: list[tuple[float, int, int, object]] = []
        self._numbers = count()
        self._wake_s = math.inf

    def _engine(self, worker: Worker) -> SimulatedWorker:
        # A decode worker renews the lease of KV it waits for, so in a fleet without faults no lease ever ends.
        return SimulatedWorker(worker.pool.predictor, worker.pool.limits, lease_s=math.inf)

    def run(self) -> None:
        """Until every request has ended."""
        with seldom_collected():
            self._run()

    def _run(self) -> None:
        events, rows = self._events, self._rows
        row = next(rows, None)
        self._at(self._probe_interval_s, Kind.PROBE, 0)
        while row is not None or self._flights:
            if row is not None and row.arrival_s < events[0][0]:
                self._arrived(row, row.arrival_s)
                row = next(rows, None)
            else:
                now, kind, _, what = heapq.heappop(events)
                if kind != _WORKER:
                    self._happen(kind, what, now)
                elif what.due_s == now:  # type: ignore[attr-defined]
                    self._hear(what, now)  # type: ignore[arg-type]

    def _happen(self, kind: int, what: object, now: float) -> None:
        match what:
            case Flight():
                self._flight_event(kind, what, now)
            case _ if kind == Kind.PROBE:
                self._probe(now)
            case _:
                self._wake_s = math.inf
                self._act(self._scheduler.tick(now), now)

    def _at(self, when_s: float, kind: Kind, number: int, what: object = None) -> None:
        heapq.heappush(self._events, (when_s, int(kind), number, what))

    # requests

    def _arrived(self, row: Row, now: float) -> None:
        request = self._request(row)
        self._flights[request.id] = Flight(next(self._numbers), row, request, request.id)
        self._act(self._scheduler.submit(request, now), now)

    def _act(self, decisions: Iterable[Decision], now: float) -> None:
        for decision in decisions:
            flight, outcome = self._flights[decision.request.id], decision.outcome
            if isinstance(outcome, Reject):
                self._ended(flight, Outcome.REJECTED, now, outcome.message)
            else:
                flight.placement = outcome
                self._place(flight, outcome, now)
        if self._scheduler.next_wake_s < self._wake_s:
            self._wake_s = max(self._scheduler.next_wake_s, now)
            self._at(self._wake_s, Kind.WAKE, 0)

    def _place(self, flight: Flight, placement: Placement, now: float) -> None:
        row, request = flight.row, flight.request
        site = self._sites.get(placement.prefill.name)
        if site is None:
            self._call_api(flight, placement.decode, now)
        elif placement.prefill is not placement.decode:
            leg = Sequence(flight.call_id, row.input_tokens, 1, prefix=request.prefix, pin=True)
            self._submit(flight, site, leg, now)
        else:
            self._submit_whole(flight, site, now)

    def _submit_whole(self, flight: Flight, site: Site, now: float) -> None:
        """One worker prefills and decodes."""
        row = flight.row
        flight.sequence = Sequence(
            flight.call_id,
            row.input_tokens,
            row.output_tokens,
            prefix=flight.request.prefix,
            mark_tokens=self._next_told(flight),
        )
        self._submit(flight, site, flight.sequence, now)

    def _next_told(self, flight: Flight) -> int:
        """Tokens at which the scheduler is to hear of the answer's length again."""
        request = flight.request
        covered = self._scheduler.covered_tokens(request.id, request.attempt)
        return (covered // PROGRESS_TOKENS + 1) * PROGRESS_TOKENS

    def _submit(self, flight: Flight, site: Site, sequence: Sequence, now: float) -> None:
        try:
            site.engine.submit(sequence, now)
        except DoesNotFit as error:
            if sequence.transfer_s is not None and flight.placement is not None:
                self._release(flight, self._sites[flight.placement.prefill.name], now)
            self._over(flight, End.FAILED, Outcome.FAILED, now, str(error))
            return
        if sequence.transfer_s is not None:
            site.handovers.append(flight)
            self._watch(site)
        self._set_timer(site)

    def _hand_over(self, flight: Flight, placement: Placement, now: float) -> None:
        """The prefill leg is over: the decode leg starts, and the KV stays pinned until it has been fetched."""
        request = flight.request
        self._act(self._scheduler.prefilled(request.id, request.attempt, now), now)
        link = self._links.get((placement.prefill.pool.name, placement.decode.pool.name))
        if link is None:
            raise ValueError(f"no KV path from {placement.prefill.name} to {placement.decode.name}")
        tokens = flight.row.input_tokens
        flight.sequence = Sequence(
            flight.call_id,
            tokens,
            flight.row.output_tokens,
            transfer_s=link.transfer_s(tokens, kv_bytes(placement.prefill, tokens)),
            mark_tokens=self._next_told(flight),
        )
        self._submit(flight, self._sites[placement.decode.name], flight.sequence, now)

    def _call_api(self, flight: Flight, worker: Worker, now: float) -> None:
        self._answer_in(flight, worker.pool.predictor, now)

    def _answer_in(self, flight: Flight, predictor: Predictor, now: float) -> None:
        row = flight.row
        first_s = now + predictor.prefill_s(row.input_tokens)
        flight.gap_s = predictor.decode_step_s(1, row.input_tokens)
        self._at(first_s, Kind.API_TOKEN, flight.number, flight)
        self._at(first_s + flight.gap_s * (row.output_tokens - 1), Kind.API_END, flight.number, flight)

    def _flight_event(self, kind: int, flight: Flight, now: float) -> None:
        placement = flight.placement
        if kind == Kind.API_TOKEN:
            self._first_token(flight, now)
            self._api_progress_later(flight, now)
        elif kind == Kind.API_PROGRESS:
            self._progress(flight, now)
            self._api_progress_later(flight, now)
        elif kind == Kind.API_END:
            if flight.row.output_tokens > 1:
                self.gaps.add(flight.gap_s, flight.row.output_tokens - 1)
            self._over(flight, End.FINISHED, Outcome.COMPLETED, now)
        elif placement is not None:
            self._release(flight, self._sites[placement.prefill.name], now)

    def _api_progress_later(self, flight: Flight, now: float) -> None:
        told = self._next_told(flight)
        if flight.placement is not None and told < flight.row.output_tokens:
            gaps = told - (flight.told_tokens or 1)  # the first token is there already
            flight.told_tokens = told
            self._at(now + gaps * flight.gap_s, Kind.API_PROGRESS, flight.number, flight)

    def _progress(self, flight: Flight, now: float) -> None:
        request = flight.request
        self._act(self._scheduler.progress(request.id, request.attempt, flight.told_tokens, now), now)

    def _first_token(self, flight: Flight, now: float) -> None:
        flight.first_s = now
        decisions = self._scheduler.first_token(flight.request.id, flight.request.attempt, now)
        if decisions:
            self._act(decisions, now)

    def _over(self, flight: Flight, end: End, outcome: Outcome, now: float, message: str = "") -> None:
        """An attempt ends, and its request with it."""
        tokens = flight.row.output_tokens if end is End.FINISHED else flight.shown_tokens
        request = flight.request
        self._ended(flight, outcome, now, message, tokens)
        self._act(self._scheduler.attempt_ended(request.id, request.attempt, end, tokens, now), now)

    def _ended(self, flight: Flight, outcome: Outcome, now: float, message: str, output_tokens: int = 0) -> None:
        placement, request, row = flight.placement, flight.request, flight.row
        del self._flights[request.id]
        self.end_s = now
        split = placement is not None and placement.prefill is not placement.decode
        overhead_s = self._overhead_s * (SPLIT_CALLS if split else 1)
        late_s = overhead_s - row.arrival_s
        self.results.append(
            row.arrival_s,
            outcome,
            request.traffic_class,
            request.slo,
            flight.first_s + late_s,
            now + late_s,
            request.prompt_tokens,
            output_tokens,
            flight.hit_tokens,
            "" if placement is None else placement.prefill.name,
            "" if placement is None else placement.decode.name,
            message,
        )

    # workers

    def _hear(self, site: Site, now: float) -> None:
        for step in site.engine.advance(now):
            self._stepped(site, step)
        if site.handovers:
            self._watch(site)
        self._set_timer(site)

    def _set_timer(self, site: Site) -> None:
        next_s = site.engine.next_event_s
        if next_s != site.due_s:
            site.due_s = next_s
            if next_s < math.inf:
                heapq.heappush(self._events, (next_s, _WORKER, site.number, site))

    def _stepped(self, site: Site, step: Step) -> None:
        now, flights = step.end_s, self._flights
        if step.continuing:
            self.gaps.add_run(step.gap_s, step.growth_s, step.iterations, step.continuing)
        for sequence in step.first:
            if not sequence.pin:
                self._first_token(flights[sequence.id], now)
        for sequence in step.resumed:
            self.gaps.add(now - sequence.last_s)
        for sequence in step.marked:
            flight = flights[sequence.id]
            flight.told_tokens = sequence.mark_tokens
            self._progress(flight, now)
            site.engine.mark(sequence, self._next_told(flight), now)
        for sequence in step.finished:
            flight = flights[sequence.id]
            flight.hit_tokens += sequence.cached_tokens
            if not sequence.pin:
                self._over(flight, End.FINISHED, Outcome.COMPLETED, now)
            elif flight.placement is not None:
                self._hand_over(flight, flight.placement, now)

    def _watch(self, site: Site) -> None:
        """KV leaves the prefill worker once it has arrived; when that is, is known when the decode leg is admitted."""
        for ready_s, flight in site.arriving():
            self._at(ready_s, Kind.HANDED_OVER, flight.number, flight)

    def _release(self, flight: Flight, site: Site, now: float) -> None:
        site.engine.release(flight.call_id, now)
        self._set_timer(site)

    def _probe(self, now: float) -> None:
        if self._scheduler.waiting or self._surprises:
            for site in self._sites.values():
                self._look(site, now)
        if not self._events and self._flights:
            raise RuntimeError(f"{len(self._flights)} requests are in flight and nothing will ever happen: a bug")
        self._at(now + self._probe_interval_s, Kind.PROBE, 0)

    def _look(self, site: Site, now: float) -> None:
        self._act(self._scheduler.report(site.worker.name, report_of(site.engine, now), now), now)


def report_of(engine: SimulatedWorker, now: float) -> WorkerReport:
    waiting = engine.waiting + engine.transferring
    return WorkerReport(engine.running, waiting, engine.kv_tokens / engine.limits.kv_tokens, now)
