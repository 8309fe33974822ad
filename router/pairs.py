"""Which pairs of pools can hand KV cache over, and why (not), in one sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product

from devices import catalog
from devices.fabric.kv_pairs import Finding, Side, State, finding
from devices.profile import Precision
from devices.worker import Phase
from router.schema import Config, Kv, LinkEntry, PoolEntry

CONNECTORS = {"vllm": "nixl"}
"""What each of our dialects can drive. Engines not listed cannot hand over."""
KV_BLOCK = 16
"""Tokens in a block where neither pool nor link says otherwise, as engines default to."""

_NOT_SET_UP = "the link has no kv: its engines are not set up to hand over"


class Verdict(Enum):
    """What a link between two pools is good for."""

    WORKS = "works"
    """With engines of today."""
    FRAGILE = "fragile"
    """Somebody's code does it, release by release, and the link accepts that."""
    HYPOTHETICAL = "hypothetical"
    """Nobody ships it; allowed between simulated pools only."""
    REPREFILL = "re-prefill"
    """KV cannot move; the text can, and is prefilled again."""


@dataclass(frozen=True, slots=True)
class PairReport:
    """Whether KV moves from one pool to another, and why (not), in one sentence. `source`: who says so, or ""."""

    from_pool: str
    to_pool: str
    verdict: Verdict
    why: str
    source: str = ""


def pair_reports(config: Config) -> tuple[PairReport, ...]:
    """For every ordered pair of pools, and each pool a link leads back to, whether KV can be handed over."""
    links = {(link.from_pool, link.to_pool): link for link in config.links}
    return tuple(
        _report(config, source, target, links.get((source.name, target.name)))
        for source, target in product(config.pools, repeat=2)
        if source is not target or (source.name, target.name) in links
    )


def kv_precision(config: Config, entry: PoolEntry) -> Precision:
    """Width of a pool's cache: its own setting, else what its links carry, else 16 bits as engines default to."""
    carried = [link.kv.dtype for link in config.links if link.kv and entry.name in (link.from_pool, link.to_pool)]
    return entry.kv_precision or next((dtype for dtype in carried if dtype), None) or Precision.FP16


def _report(config: Config, source: PoolEntry, target: PoolEntry, link: LinkEntry | None) -> PairReport:
    kv = link.kv if link else None
    against = _against(source, target, link)
    if kv is None or against:
        return PairReport(source.name, target.name, Verdict.REPREFILL, against or _NOT_SET_UP)
    carried = _carried_otherwise(config, source, kv)
    prefill, decode = _side(config, source, kv), _side(config, target, kv)
    found = finding(prefill, decode, catalog.model(config.shape_id(source.model)), kv.connector)
    if carried and found.state is not State.REFUSED:
        return PairReport(source.name, target.name, Verdict.REPREFILL, carried)
    simulated = bool(source.simulate and target.simulate)
    verdict, why = _judged(found, kv, simulated, prefill, decode)
    return PairReport(source.name, target.name, verdict, why, found.source)


def _against(source: PoolEntry, target: PoolEntry, link: LinkEntry | None) -> str | None:
    """Why the file itself keeps KV from moving from `source` to `target`, None if it does not."""
    for entry in (source, target):
        if entry.api:
            return f"{entry.name} is an API and keeps its cache to itself"
    if source.model != target.model:
        return f"{source.name} serves {source.model}, {target.name} serves {target.model}"
    if Phase.PREFILL not in source.phases:
        return f"{source.name} does not prefill"
    if Phase.DECODE not in target.phases:
        return f"{target.name} does not decode"
    if link is None:
        return f"no link from {source.name} to {target.name} is configured"
    return _dialect_mismatch(source, target, link.kv) if link.kv else None


def _dialect_mismatch(source: PoolEntry, target: PoolEntry, kv: Kv) -> str | None:
    """Beyond what engines can do: what our dialects can ask of them."""
    for entry in (source, target):
        if CONNECTORS.get(entry.dialect) != kv.connector:
            return f"the engine of {entry.name}, {entry.dialect}, does not speak {kv.connector}"
    return None


def _carried_otherwise(config: Config, source: PoolEntry, kv: Kv) -> str | None:
    held = kv_precision(config, source)
    if kv.dtype in (None, held):
        return None
    return f"the link carries {kv.dtype.value}, both pools keep their cache in {held.value}"


def _side(config: Config, entry: PoolEntry, kv: Kv) -> Side:
    return Side(
        name=entry.name,
        device=catalog.device(str(entry.device)),
        engine=entry.dialect,
        kv_precision=kv_precision(config, entry),
        block_size=entry.block_size or kv.block_size,
        tp=entry.chips_per_worker,
        version=entry.engine_version,
        attention=entry.attention_backend,
    )


def _judged(found: Finding, kv: Kv, simulated: bool, prefill: Side, decode: Side) -> tuple[Verdict, str]:
    """What may be done with a finding; simulated pools may pretend whatever engines would not refuse."""
    if found.state is State.WORKS:
        same = prefill.device.id == decode.device.id
        return Verdict.WORKS, found.why if same else f"{found.why}{_unstated(prefill, decode)}"
    if found.state is State.REFUSED:
        return Verdict.REPREFILL, found.why
    if found.state is State.FRAGILE and kv.accept_fragile:
        return Verdict.FRAGILE, f"{found.why}; accepted by this link"
    if simulated:
        return Verdict.HYPOTHETICAL, f"{found.why}; both pools are simulated"
    fragile = found.state is State.FRAGILE
    way_out = "accept_fragile: true in the link's kv takes the risk" if fragile else "only simulated pools may pretend"
    return Verdict.REPREFILL, f"{found.why}; {way_out}"


def _unstated(prefill: Side, decode: Side) -> str:
    """What the file leaves for the engines to find out; unlike chips often default to unlike kernels."""
    open_ = {
        "engine_version": None in (prefill.version, decode.version),
        "attention_backend": None in (prefill.attention, decode.attention),
    }
    names = " and ".join(name for name, unstated in open_.items() if unstated)
    return f"; their engines will also compare {names}, not stated here" if names else ""
