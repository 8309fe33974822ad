"""Whom a fault hits: names of a fault file resolved in a fleet, and every complaint about them and what they imply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from devices.catalog import UnknownId, did_you_mean
from devices.feasibility import Infeasible
from devices.worker import Pool, Worker
from loadgen.arrivals import arrivals
from loadgen.fault_claims import real
from loadgen.fault_file import KINDS, TARGETS, WHOLE_RUN, Fault, FaultFile, NewPrice
from loadgen.lengths import lognormal
from router.layout import Layout
from router.located import Loc

Problem = tuple[Loc, str]

ENGINE_ONLY = ("is_really", "telemetry", "foreign")
"""Faults of an engine we look into; a metered API shows none and reports nothing."""


def hits(fault: Fault, worker: Worker) -> bool:
    """Whether a fault is one of this worker, of its pool, its vendor or its site."""
    pool = worker.pool
    names = {"worker": worker.name, "pool": pool.name, "vendor": pool.vendor, "site": pool.site}
    return any(getattr(fault, target) == name for target, name in names.items())


def workers(fault: Fault, layout: Layout) -> list[Worker]:
    """Workers a fault hits, in the order of the fleet file; none for the fault of a link."""
    return [worker for worker in layout.workers if hits(fault, worker)]


def engines(fault: Fault, layout: Layout) -> list[Worker]:
    """Those of them that are no metered APIs."""
    return [worker for worker in workers(fault, layout) if not worker.pool.metered]


def pools(fault: Fault, layout: Layout) -> list[Pool]:
    """Pools of which a fault hits a worker."""
    return list(dict.fromkeys(worker.pool for worker in workers(fault, layout)))


def problems(file: FaultFile, layout: Layout) -> Iterator[Problem]:
    """Everything that does not fit together, or not to the fleet, each with the place to look at."""
    claimed: set[tuple[str, str]] = set()
    for i, fault in enumerate(file.faults):
        at: Loc = ("faults", i)
        found = [*_choices(at, fault), *_unknown_targets(at, fault, layout)]
        yield from found
        if not found:
            yield from _times(at, fault)
            yield from _misfits(at, fault, layout)
            yield from _claims(at, fault, layout, claimed)


def _choices(at: Loc, fault: Fault) -> Iterator[Problem]:
    for what, names in (("target", TARGETS), ("fault", KINDS)):
        given = fault.given(names)
        if not given:
            yield at, f"no {what}; give one of {', '.join(names)}"
        elif len(given) > 1:
            yield (*at, given[1]), f"beside {given[0]}; give one {what} in each entry"


def _unknown_targets(at: Loc, fault: Fault, layout: Layout) -> Iterator[Problem]:
    found = layout.workers
    known: dict[str, Iterable[str]] = {
        "worker": [worker.name for worker in found],
        "pool": [worker.pool.name for worker in found],
        "vendor": [worker.pool.vendor for worker in found],
        "site": [worker.pool.site for worker in found if worker.pool.site],
    }
    for kind, names in known.items():
        name = getattr(fault, kind)
        if name is not None and name not in names:
            listed = did_you_mean(name, names) if names else "no pool of the fleet names one"
            yield (*at, kind), f"unknown {kind} '{name}'; {listed}"
    if fault.link and (fault.link.from_pool, fault.link.to_pool) not in layout.links:
        pairs = ", ".join(f"{source} -> {target}" for source, target in layout.links) or "none"
        yield (*at, "link"), f"no such link in use; those in use: {pairs}"


def _times(at: Loc, fault: Fault) -> Iterator[Problem]:
    if fault.until is not None and fault.until <= fault.at:
        yield (*at, "until"), f"{fault.until:g} is not after {fault.at:g}, where the fault begins"
    for kind in fault.given(WHOLE_RUN):
        if fault.at or fault.until is not None:
            yield (*at, "at" if fault.at else "until"), f"{kind} holds for the whole run; leave out at and until"


def _misfits(at: Loc, fault: Fault, layout: Layout) -> Iterator[Problem]:
    [kind] = fault.given(KINDS)
    here: Loc = (*at, kind)
    if fault.link and kind not in ("down", "slow"):
        yield here, "is no fault of a link; a link is down or slow"
    elif kind in ENGINE_ONLY and not engines(fault, layout):
        yield here, "a metered API shows neither its hardware nor its load; it can be down, slow, misstated or dearer"
    if fault.price:
        yield from _price(at, fault, fault.price, layout)
    if fault.foreign:
        for name, read in (("input", lognormal), ("output", lognormal), ("arrivals", arrivals)):
            try:
                read(getattr(fault.foreign, name))
            except ValueError as error:
                yield (*here, name), str(error)


def _price(at: Loc, fault: Fault, price: NewPrice, layout: Layout) -> Iterator[Problem]:
    here: Loc = (*at, "price")
    given = sorted(price.model_fields_set)
    metered = {pool.metered for pool in pools(fault, layout)}
    of_apis = [name for name in given if name.startswith("usd_per_m_")]
    if fault.worker:
        yield here, "is paid by the pool; give pool instead of worker"
    elif not given:
        yield here, "no price; give factor, usd_per_chip_hour, or usd_per_m_input and usd_per_m_output"
    elif "factor" in given and len(given) > 1:
        yield (*here, "factor"), "beside figures; give either"
    elif of_apis and (False in metered or "usd_per_chip_hour" in given):
        yield (*here, of_apis[0]), "only a metered API is paid by the token; give factor or usd_per_chip_hour"
    elif "usd_per_chip_hour" in given and True in metered:
        yield (*here, "usd_per_chip_hour"), "a metered API is paid by the token; give factor or usd_per_m_input"


def _claims(at: Loc, fault: Fault, layout: Layout, claimed: set[tuple[str, str]]) -> Iterator[Problem]:
    for kind in fault.given(WHOLE_RUN):
        for worker in workers(fault, layout):
            if (kind, worker.name) in claimed:
                yield (*at, kind), f"{worker.name} has another {kind} already; give it one"
                return
            claimed.add((kind, worker.name))
    if fault.is_really is None:
        return
    if not fault.is_really.model_fields_set:
        yield (*at, "is_really"), "nothing differs; give device, chips, model or precision"
        return
    for pool in dict.fromkeys(worker.pool for worker in engines(fault, layout)):
        try:
            real(pool, fault.is_really)
        except (Infeasible, UnknownId) as error:
            yield (*at, "is_really"), f"in place of a worker of {pool.name}: {error}"
