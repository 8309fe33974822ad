"""A scripted timeline of faults, resolved against a fleet: a sorted tuple of events, and what workers really are.

Faults of one kind on one target may overlap: it is down while any says so, slow by all factors multiplied, and of
telemetry and prices the last one in the file holds. Events tell the state from then on, so a driver keeps no intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import xxhash

from devices.natures.altered import Misstated, Slowed
from devices.worker import Billing, Limits, Link, Predictor, Worker
from loadgen.fault_claims import real, repriced
from loadgen.fault_events import (
    Event,
    ForeignLoad,
    Found,
    LinkChanged,
    Lost,
    Paced,
    PriceChanged,
    Reporting,
    room_tokens,
)
from loadgen.fault_file import Fault, FaultFile, read
from loadgen.fault_targets import engines, hits, pools, problems
from router.complaints import raise_located
from router.layout import Layout

Engines = Mapping[str, tuple[Predictor, Limits]]
Moment = tuple[float, int, Event]
"""Seconds, the place in the file of the fault behind it, and the event."""
State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is to go wrong, and when.

    Attributes:
        events: sorted by time, those of one moment by the fault's place in the file.
        engines: by name, how long work takes and what fits on workers that are not what they claim.
    """

    events: tuple[Event, ...] = ()
    engines: Engines = field(default_factory=dict)

    def engine_predictor(self, worker: Worker) -> Predictor:
        """How long work really takes there from the start on; the scheduler believes the predictor of the pool."""
        return self.engines[worker.name][0] if worker.name in self.engines else worker.pool.predictor

    def engine_limits(self, worker: Worker) -> Limits:
        """What really fits on it."""
        return self.engines[worker.name][1] if worker.name in self.engines else worker.pool.limits


NO_FAULTS = Timeline()


def timeline(path: Path | None, layout: Layout) -> Timeline:
    """The faults of a file in a fleet, none without a file; raises `ConfigError` with all problems found."""
    if path is None:
        return NO_FAULTS
    document, file = read(path)
    raise_located(document, problems(file, layout))
    still = Timeline(engines=_engines(file, layout))
    moments: list[Moment] = []
    for worker in layout.workers:
        moments += _lives(file, worker)
        moments += _paces(file, worker, still.engine_predictor(worker))
        moments += _reports(file, worker)
    moments += _links(file, layout)
    moments += _prices(file, layout)
    moments += _foreign(file, layout, still)
    moments.sort(key=lambda moment: moment[:2])
    return Timeline(tuple(event for _, _, event in moments), still.engines)


def _engines(file: FaultFile, layout: Layout) -> dict[str, tuple[Predictor, Limits]]:
    """Of workers that are another device, or slower or faster than their profile says, or both."""
    found: dict[str, tuple[Predictor, Limits]] = {}
    for fault in file.faults:
        if fault.is_really:
            found |= {worker.name: real(worker.pool, fault.is_really) for worker in engines(fault, layout)}
    for worker in layout.workers:
        for _, fault in _hitting(file, "misstated", worker):
            timed, room = found.get(worker.name, (worker.pool.predictor, worker.pool.limits))
            if fault.misstated:
                found[worker.name] = Misstated(timed, fault.misstated.scale, fault.misstated.shape), room
    return found


def _lives(file: FaultFile, worker: Worker) -> Iterator[Moment]:
    for at_s, order, down in _states(_hitting(file, "down", worker), bool, False):
        yield at_s, order, Lost(at_s, worker.name) if down else Found(at_s, worker.name)


def _paces(file: FaultFile, worker: Worker, base: Predictor) -> Iterator[Moment]:
    for at_s, order, factor in _states(_hitting(file, "slow", worker), _factor, 1.0):
        yield at_s, order, Paced(at_s, worker.name, base if factor == 1 else Slowed(base, factor))


def _reports(file: FaultFile, worker: Worker) -> Iterator[Moment]:
    if worker.pool.metered:
        return

    def told(active: Sequence[Fault]) -> tuple[float, float]:
        last = active[-1].telemetry if active else None
        return (last.delay_s, last.loss) if last else (0.0, 0.0)

    for at_s, order, (delay_s, loss) in _states(_hitting(file, "telemetry", worker), told, (0.0, 0.0)):
        yield at_s, order, Reporting(at_s, worker.name, delay_s, loss, file.seed)


def _links(file: FaultFile, layout: Layout) -> Iterator[Moment]:
    for (source, target), link in layout.links.items():
        mine = [
            (order, fault)
            for order, fault in enumerate(file.faults)
            if fault.link and (fault.link.from_pool, fault.link.to_pool) == (source, target)
        ]

        def longer(active: Sequence[Fault]) -> float:
            return math.inf if any(fault.down for fault in active) else _factor(active)

        for at_s, order, factor in _states(mine, longer, 1.0):
            yield at_s, order, LinkChanged(at_s, source, target, _slowed(link, factor))


def _prices(file: FaultFile, layout: Layout) -> Iterator[Moment]:
    for pool in dict.fromkeys(worker.pool for worker in layout.workers):
        mine = [(i, fault) for i, fault in enumerate(file.faults) if fault.price and pool in pools(fault, layout)]

        def billed(active: Sequence[Fault], listed: Billing = pool.billing) -> Billing:
            price = active[-1].price if active else None
            return repriced(listed, price) if price else listed

        for at_s, order, billing in _states(mine, billed, pool.billing):
            yield at_s, order, PriceChanged(at_s, pool.name, billing)


def _foreign(file: FaultFile, layout: Layout, still: Timeline) -> Iterator[Moment]:
    for order, fault in enumerate(file.faults):
        if fault.foreign:
            for worker in engines(fault, layout):
                load = ForeignLoad(
                    at_s=fault.at,
                    worker=worker.name,
                    until_s=_until_s(fault),
                    **fault.foreign.model_dump(),
                    room_tokens=room_tokens(still.engine_limits(worker)),
                    seed=xxhash.xxh3_64_intdigest(f"foreign:{file.seed}:{order}:{worker.name}".encode()) % 2**32,
                )
                yield fault.at, order, load


def _hitting(file: FaultFile, kind: str, worker: Worker) -> list[tuple[int, Fault]]:
    """Faults of a kind that hit a worker, each with its place in the file."""
    return [(i, fault) for i, fault in enumerate(file.faults) if fault.given((kind,)) and hits(fault, worker)]


def _states(
    faults: Sequence[tuple[int, Fault]], state: Callable[[Sequence[Fault]], State], before: State
) -> Iterator[tuple[float, int, State]]:
    """Every moment at which the state becomes another one, and the first fault that begins or ends then."""
    causes: dict[float, int] = {}
    for order, fault in faults:
        causes.setdefault(fault.at, order)
        causes.setdefault(_until_s(fault), order)
    for at_s in sorted(causes.keys() - {math.inf}):
        after = state([fault for _, fault in faults if fault.at <= at_s < _until_s(fault)])
        if after != before:
            yield at_s, causes[at_s], after
            before = after


def _until_s(fault: Fault) -> float:
    return math.inf if fault.until is None else fault.until


def _factor(active: Sequence[Fault]) -> float:
    return math.prod(fault.slow.factor for fault in active if fault.slow)


def _slowed(link: Link, factor: float) -> Link | None:
    """A link on which every part of a transfer takes `factor` times as long; None for an infinite factor."""
    if math.isinf(factor):
        return None
    return replace(
        link,
        bytes_per_s=link.bytes_per_s / factor,
        latency_s=link.latency_s * factor,
        per_block_s=link.per_block_s * factor,
    )
