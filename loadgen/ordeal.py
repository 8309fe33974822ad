"""A simulation in which things go wrong as a timeline says; what the scheduler hears of it is what it would live."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import assert_never

from devices.simulated.engine import Sequence, SimulatedWorker
from devices.worker import Worker
from loadgen.fault_events import (
    Event,
    ForeignLoad,
    ForeignRequest,
    Found,
    LinkChanged,
    Lost,
    Paced,
    PriceChanged,
    Reporting,
)
from loadgen.faults import Timeline
from loadgen.shared_worker import ForeignSequence, SharedWorker
from loadgen.simulate import PROBE_INTERVAL_S, Kind, Simulation, report_of
from loadgen.site import Flight, Site
from loadgen.trace import Row
from policies.api import Placement, Request
from router.ledger import Outcome
from router.load import WorkerReport
from router.scheduler import End, Scheduler


@dataclass(slots=True, eq=False)
class Retry(Flight):
    """A further attempt. What the attempt before it failed of is what the client is told if this one finds no worker.

    Attributes:
        failed: where the attempt before ran.
    """

    failed: Placement | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A worker that is down was called."""

    flight: Flight
    worker: Worker


@dataclass(frozen=True, slots=True)
class _Heard:
    """A report arrives late."""

    worker: str
    report: WorkerReport


@dataclass(frozen=True, slots=True)
class _Intruded:
    """A request of others arrives; the rest will."""

    worker: str
    request: ForeignRequest
    rest: Iterator[ForeignRequest]


@dataclass(frozen=True, slots=True)
class _Lapsed:
    """The lease of KV that nobody fetched is over."""

    worker: str
    call_id: str


Happening = Event | _Refused | _Heard | _Intruded | _Lapsed


class Ordeal(Simulation):
    """A policy under one workload and a timeline of faults. Without any it does what `Simulation` does, only slower.

    The rules of a failing request are the gateway's: an attempt that has shown no token is followed by another one,
    `attempts` in all, that avoids the worker it was calling; one that has shown some ends as failed. A worker that
    refuses a connection is known to be lost from then on, otherwise the next probe finds out. A metered API is not
    probed, and never taken out of rotation.

    Attributes:
        abandoned: KV that nobody will fetch, by worker and call: it stays pinned until its lease is over.
    """

    _surprises = True

    def __init__(
        self,
        scheduler: Scheduler,
        rows: Iterable[Row],
        request: Callable[[Row], Request],
        timeline: Timeline,
        *,
        attempts: int = 2,
        kv_lease_s: float = 30.0,
        probe_interval_s: float = PROBE_INTERVAL_S,
        overhead_s: float = 0.0,
    ) -> None:
        self.abandoned: set[tuple[str, str]] = set()
        self._attempts, self._kv_lease_s = attempts, kv_lease_s
        self._limits = {worker.name: timeline.engine_limits(worker) for worker in scheduler.fleet.workers}
        self._paces = {worker.name: timeline.engine_predictor(worker) for worker in scheduler.fleet.workers}
        self._shared = {event.worker for event in timeline.events if isinstance(event, ForeignLoad)}
        self._down: set[str] = set()
        self._telemetry: dict[str, Reporting] = {}
        self._looks: Counter[str] = Counter()
        self._happenings, self._foreigners = count(), count()
        super().__init__(scheduler, rows, request, probe_interval_s=probe_interval_s, overhead_s=overhead_s)
        for event in timeline.events:
            self._later(event.at_s, event)

    def _later(self, when_s: float, what: Happening) -> None:
        self._at(when_s, Kind.FAULT, next(self._happenings), what)

    def _happen(self, kind: int, what: object, now: float) -> None:
        if kind == Kind.FAULT:
            self._befall(what, now)  # type: ignore[arg-type]  # only `_later` makes events of this kind
        else:
            super()._happen(kind, what, now)

    def _befall(self, what: Happening, now: float) -> None:
        match what:
            case Lost():
                self._lose(self._fleet.by_name[what.worker], now)
            case Found():
                self._down.discard(what.worker)
            case Paced():
                self._repace(what, now)
            case Reporting():
                self._telemetry[what.worker] = what
            case ForeignLoad():
                self._expect(what.worker, what.requests())
            case LinkChanged():
                self._links[what.from_pool, what.to_pool] = what.link
            case PriceChanged():
                self._fleet.reprice(what.pool, what.billing)
            case _Refused():
                self._refused(what, now)
            case _Heard():
                self._act(self._scheduler.report(what.worker, what.report, now), now)
            case _Intruded():
                self._intrude(what, now)
            case _Lapsed():
                self._lapse(what, now)
            case _:
                assert_never(what)

    # workers

    def _engine(self, worker: Worker) -> SimulatedWorker:
        kind = SharedWorker if worker.name in self._shared else SimulatedWorker
        return kind(self._paces[worker.name], self._limits[worker.name], lease_s=math.inf)

    def _lose(self, worker: Worker, now: float) -> None:
        """All that runs there breaks off. Nobody is told: callers notice by their own calls."""
        hit = [
            flight for key, flight in self._flights.items() if key == flight.request.id and _needs(flight, worker, now)
        ]
        self._down.add(worker.name)
        site = self._sites.get(worker.name)
        if site is None:
            for flight in hit:
                self._hang_up(flight, now)
        else:
            self._bury(site, hit, now)
        for flight in hit:
            self._broken(flight, f"{worker.name} was lost", now)

    def _bury(self, site: Site, hit: Iterable[Flight], now: float) -> None:
        """An empty engine takes the place of the old one, whose tokens up to now are counted."""
        for flight in hit:
            if flight.sequence is not None and flight.placement and flight.placement.decode is site.worker:
                flight.shown_tokens = site.engine.made_tokens(flight.sequence, now)
            site.engine.abort(flight.call_id, now)
        for step in site.engine.advance(now):
            self._stepped(site, step)
        site.engine, site.handovers = self._engine(site.worker), []
        self._set_timer(site)

    def _hang_up(self, flight: Flight, now: float) -> None:
        """An API's answer breaks off: what has come of it is known from its even pace."""
        if not math.isnan(flight.first_s):
            later = int((now - flight.first_s) / flight.gap_s) if flight.gap_s else 0
            later = min(later, flight.row.output_tokens - 1)
            flight.shown_tokens = 1 + later
            if later:
                self.gaps.add(flight.gap_s, later)

    def _repace(self, paced: Paced, now: float) -> None:
        self._paces[paced.worker] = paced.predictor
        if site := self._sites.get(paced.worker):
            site.engine.repace(paced.predictor, now)
            self._set_timer(site)

    def _look(self, site: Site, now: float) -> None:
        """What a probe finds: whether the worker is there, and how busy it says it is."""
        name, routable = site.worker.name, self._fleet.is_routable(site.worker)
        if name in self._down:
            if routable:
                self._act(self._scheduler.worker_lost(name, now), now)
            return
        if not routable:
            self._act(self._scheduler.worker_found(name, now), now)
        self._looks[name] += 1
        told = self._telemetry.get(name)
        if told is None or not told.lost(self._looks[name]):
            heard_s = now + (told.delay_s if told else 0.0)
            heard = _Heard(name, report_of(site.engine, heard_s))
            if heard_s > now:
                self._later(heard_s, heard)
            else:
                self._befall(heard, now)

    # requests of others

    def _expect(self, worker: str, requests: Iterator[ForeignRequest]) -> None:
        if request := next(requests, None):
            self._later(request.at_s, _Intruded(worker, request, requests))

    def _intrude(self, intruded: _Intruded, now: float) -> None:
        request, site = intruded.request, self._sites[intruded.worker]
        if intruded.worker not in self._down:
            name = f"foreign {next(self._foreigners)}"
            site.engine.submit(ForeignSequence(name, request.input_tokens, request.output_tokens), now)
            self._set_timer(site)
        self._expect(intruded.worker, intruded.rest)

    # requests of ours

    def _submit(self, flight: Flight, site: Site, sequence: Sequence, now: float) -> None:
        if site.worker.name in self._down:
            self._later(now, _Refused(flight, site.worker))
        else:
            super()._submit(flight, site, sequence, now)

    def _call_api(self, flight: Flight, worker: Worker, now: float) -> None:
        if worker.name in self._down:
            self._later(now, _Refused(flight, worker))
        else:
            self._answer_in(flight, self._paces[worker.name], now)

    def _refused(self, refused: _Refused, now: float) -> None:
        worker = refused.worker
        if not self._is_current(refused.flight):
            return
        if not worker.pool.metered and self._fleet.is_routable(worker):
            self._act(self._scheduler.worker_lost(worker.name, now), now)
        self._broken(refused.flight, f"{worker.name} cannot be reached", now)

    def _is_current(self, flight: Flight) -> bool:
        return self._flights.get(flight.call_id) is flight

    def _flight_event(self, kind: int, flight: Flight, now: float) -> None:
        """News of an attempt that is over changes nothing."""
        if self._is_current(flight):
            super()._flight_event(kind, flight, now)

    def _hand_over(self, flight: Flight, placement: Placement, now: float) -> None:
        """Where the link is cut, the decode worker fetches in vain and computes the prompt itself."""
        if self._links[placement.prefill.pool.name, placement.decode.pool.name] is not None:
            super()._hand_over(flight, placement, now)
            return
        request = flight.request
        self._act(self._scheduler.prefilled(request.id, request.attempt, now), now)
        self._abandon(flight, placement.prefill, now)
        flight.hit_tokens = 0
        self._submit_whole(flight, self._sites[placement.decode.name], now)

    # attempts that fail

    def _broken(self, flight: Flight, message: str, now: float) -> None:
        """The attempt is over; the worker to avoid is the one that was spoken to, for no other shows its failure."""
        placement, request = flight.placement, flight.request
        assert placement is not None
        spoken_to = placement.prefill if flight.sequence is None else placement.decode
        self._let_go(flight, placement, now)
        if flight.shown_tokens or request.attempt >= self._attempts:
            self._over(flight, End.FAILED, Outcome.FAILED, now, message)
            return
        number = request.attempt + 1
        again = replace(request, attempt=number, avoid=request.avoid | {spoken_to.name})
        call_id = f"{request.id}-{number}"
        retry = Retry(next(self._numbers), flight.row, again, call_id, failed=placement, failure=message)
        self._flights[request.id] = self._flights[call_id] = retry
        if request.attempt > 1:
            del self._flights[flight.call_id]
        self._act(self._scheduler.attempt_ended(request.id, request.attempt, End.FAILED, 0, now), now)
        self._act(self._scheduler.submit(again, now), now)

    def _let_go(self, flight: Flight, placement: Placement, now: float) -> None:
        """What the attempt has elsewhere: its decode leg ends, and KV not fetched yet stays until its lease ends."""
        if placement.split and flight.sequence is not None:
            site = self._sites[placement.decode.name]
            if _needs_kv(flight.sequence, now):
                self._abandon(flight, placement.prefill, now)
            site.handovers = [other for other in site.handovers if other is not flight]
            site.engine.abort(flight.call_id, now)
            self._set_timer(site)

    def _abandon(self, flight: Flight, worker: Worker, now: float) -> None:
        self.abandoned.add((worker.name, flight.call_id))
        self._later(now + self._kv_lease_s, _Lapsed(worker.name, flight.call_id))

    def _lapse(self, lapsed: _Lapsed, now: float) -> None:
        site = self._sites[lapsed.worker]
        self.abandoned.discard((lapsed.worker, lapsed.call_id))
        site.engine.release(lapsed.call_id, now)
        self._set_timer(site)

    def _over(self, flight: Flight, end: End, outcome: Outcome, now: float, message: str = "") -> None:
        if outcome is Outcome.COMPLETED and flight.request.attempt > 1:
            outcome = Outcome.COMPLETED_AFTER_RETRY
        super()._over(flight, end, outcome, now, message)

    def _ended(self, flight: Flight, outcome: Outcome, now: float, message: str, output_tokens: int = 0) -> None:
        if isinstance(flight, Retry):
            if outcome is Outcome.REJECTED:
                outcome, message, flight.placement = Outcome.FAILED, flight.failure, flight.failed
            del self._flights[flight.call_id]
        super()._ended(flight, outcome, now, message, output_tokens)


def _needs(flight: Flight, worker: Worker, now: float) -> bool:
    """Whether the attempt breaks off if the worker dies."""
    placement, sequence = flight.placement, flight.sequence
    if placement is None:
        return False
    if sequence is None or not placement.split:
        return placement.prefill is worker
    return placement.decode is worker or (placement.prefill is worker and _needs_kv(sequence, now))


def _needs_kv(sequence: Sequence, now: float) -> bool:
    """Whether a decode leg's KV is still where it was computed. A leg that was preempted computes it again."""
    return sequence.transfer_s is not None and not sequence.kv_ready_s <= now
