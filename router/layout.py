"""From a checked fleet file to values: workers, links, and which pairs of pools can hand KV cache over, and why."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

from devices import catalog
from devices.feasibility import limits
from devices.nature import predictor
from devices.profile import DeviceProfile, Nature, Precision
from devices.remote import RemotePredictor
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Link, Phase, Pool, Predictor, Worker
from router.located import ConfigError
from router.schema import Api, Config, Discover, Kv, LinkEntry, PoolEntry

CONNECTORS = {"vllm": "nixl"}
"""What each engine speaks for KV hand-over. Engines not listed cannot hand over."""
API_KV_TOKENS = 1 << 40
"""A metered API hides its memory; this never binds."""


class Verdict(Enum):
    """What a link between two pools is good for."""

    WORKS = "works"
    """With engines of today."""
    HYPOTHETICAL = "hypothetical"
    """Nobody ships it; allowed between simulated pools only."""
    REPREFILL = "re-prefill"
    """KV cannot move; the text can, and is prefilled again."""


@dataclass(frozen=True, slots=True)
class PairReport:
    """Whether KV moves from one pool to another, and why (not), in one sentence."""

    from_pool: str
    to_pool: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The fleet as values. `links` holds only pairs that may be used, keyed (from pool, to pool)."""

    workers: tuple[Worker, ...]
    links: Mapping[tuple[str, str], Link]
    pairs: tuple[PairReport, ...]


def layout(config: Config, urls: Mapping[str, Sequence[str]] | None = None) -> Layout:
    """Build the fleet of a checked configuration. `urls` gives the addresses of simulated pools, where they run."""
    pairs = pair_reports(config)
    usable = {(pair.from_pool, pair.to_pool) for pair in pairs if pair.verdict is not Verdict.REPREFILL}
    entries = {(link.from_pool, link.to_pool): link for link in config.links}
    links = {pair: _link(entries[pair]) for pair in entries if pair in usable}
    workers: list[Worker] = []
    for entry in config.pools:
        handover = any(entry.name in pair for pair in links)
        pool = _pool(config, entry, CONNECTORS[entry.dialect] if handover else None)
        known = (urls or {}).get(entry.name) or addresses(entry)
        workers += (Worker(f"{entry.name}-{i}", pool, url) for i, url in enumerate(known))
    return Layout(tuple(workers), links, pairs)


def addresses(entry: PoolEntry) -> list[str]:
    """Origins of a pool's workers, empty where simulated. Resolves DNS: it may block, and raise `ConfigError`."""
    if entry.simulate:
        return [""] * entry.simulate
    if entry.discover:
        return _resolved(entry.name, entry.discover)
    return [url.rstrip("/") for url in entry.workers]


def _resolved(pool: str, discover: Discover) -> list[str]:
    try:
        found = socket.getaddrinfo(discover.dns, discover.port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"pool {pool}: discover.dns: cannot resolve '{discover.dns}': {why.lower()}") from None
    hosts = sorted({str(address[4][0]) for address in found})
    return [f"{discover.scheme}://{f'[{host}]' if ':' in host else host}:{discover.port}" for host in hosts]


def kv_precision(config: Config, entry: PoolEntry) -> Precision:
    """Width of a pool's cache: its own setting, else what its links carry, else 16 bits as engines default to."""
    carried = [link.kv.dtype for link in config.links if link.kv and entry.name in (link.from_pool, link.to_pool)]
    return entry.kv_precision or next((dtype for dtype in carried if dtype), None) or Precision.FP16


def pool_limits(config: Config, entry: PoolEntry) -> Limits:
    """What fits on one worker; raises `Infeasible` and `UnknownId`."""
    if entry.api:
        api = entry.api
        hard = True  # calls beyond the agreed concurrency are refused there, so they wait here
        return Limits(API_KV_TOKENS, api.concurrency, hard, api.context_tokens, api.context_tokens)
    return limits(
        _device(entry),
        catalog.model(config.shape_id(entry.model)),
        entry.chips_per_worker,
        _precision(config, entry),
        kv_precision(config, entry),
        entry.max_seqs,
        entry.max_batched_tokens,
    )


def billing(entry: PoolEntry) -> Billing:
    """How a pool is paid for; raises `UnknownId` where an API lists no price for the model."""
    if entry.api:
        return Billing(BillingKind.METERED, price=_api_price(entry.api, entry.model))
    listed = _device(entry).usd_per_chip_hour or 0.0
    if entry.billing is None:
        return Billing(BillingKind.ON_DEMAND, listed)
    stated = entry.billing.usd_per_chip_hour
    return Billing(entry.billing.kind, listed if stated is None else stated)


def pair_reports(config: Config) -> tuple[PairReport, ...]:
    """For every ordered pair of pools, and each pool a link leads back to, whether KV can be handed over."""
    links = {(link.from_pool, link.to_pool): link for link in config.links}
    return tuple(
        PairReport(source.name, target.name, *_verdict(config, source, target, links.get((source.name, target.name))))
        for source, target in product(config.pools, repeat=2)
        if source is not target or (source.name, target.name) in links
    )


def _verdict(config: Config, source: PoolEntry, target: PoolEntry, link: LinkEntry | None) -> tuple[Verdict, str]:
    against = _against(config, source, target, link)
    if against:
        return Verdict.REPREFILL, against
    unproven = _unproven(_device(source), _device(target))
    if unproven is None:
        return Verdict.WORKS, f"both speak {CONNECTORS[source.dialect]} on {_device(source).vendor} GPUs"
    if source.simulate and target.simulate:
        return Verdict.HYPOTHETICAL, f"{unproven}; both pools are simulated"
    return Verdict.REPREFILL, f"{unproven}; only simulated pools may pretend"


def _against(config: Config, source: PoolEntry, target: PoolEntry, link: LinkEntry | None) -> str | None:
    """Why KV cannot move from `source` to `target`, None if nothing speaks against it."""
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
    if link.kv is None:
        return "the link has no kv: its engines are not set up to hand over"
    return _dialect_mismatch(source, target, link.kv) or _width_mismatch(config, source, target, link.kv)


def _dialect_mismatch(source: PoolEntry, target: PoolEntry, kv: Kv) -> str | None:
    for entry in (source, target):
        if CONNECTORS.get(entry.dialect) != kv.connector:
            return f"the engine of {entry.name}, {entry.dialect}, does not speak {kv.connector}"
    return None


def _width_mismatch(config: Config, source: PoolEntry, target: PoolEntry, kv: Kv) -> str | None:
    """vLLM compares the cache type of both sides in its handshake and refuses a difference."""
    held, taken = kv_precision(config, source), kv_precision(config, target)
    if held is not taken:
        return f"{source.name} keeps its cache in {held.value}, {target.name} in {taken.value}"
    if kv.dtype not in (None, held):
        return f"the link carries {kv.dtype.value}, both pools keep their cache in {held.value}"
    return None


def _unproven(source: DeviceProfile, target: DeviceProfile) -> str | None:
    """Why nobody ships a hand-over between two devices, None within one vendor's GPUs, where it is routine."""
    for device in (source, target):
        if device.nature is not Nature.HBM:
            return f"no engine hands KV over to or from {device.id}"
    if source.vendor != target.vendor:
        return f"no engine supports KV hand-over from {source.vendor} to {target.vendor}"
    return None


def _pool(config: Config, entry: PoolEntry, handover: str | None) -> Pool:
    pool = Pool(
        name=entry.name,
        model=entry.model,
        phases=frozenset(entry.phases),
        engine=entry.dialect,
        billing=billing(entry),
        predictor=_predictor(config, entry),
        limits=pool_limits(config, entry),
        site=entry.site,
        handover=handover,
    )
    if entry.api:
        return pool
    return replace(
        pool,
        device=_device(entry),
        shape=catalog.model(config.shape_id(entry.model)),
        chips=entry.chips_per_worker,
        precision=_precision(config, entry),
        kv_precision=kv_precision(config, entry),
    )


def _predictor(config: Config, entry: PoolEntry) -> Predictor:
    if entry.api:
        return RemotePredictor(entry.api.ttft_s, entry.api.tpot_s)
    return predictor(
        _device(entry),
        catalog.model(config.shape_id(entry.model)),
        entry.chips_per_worker,
        _precision(config, entry),
        kv_precision(config, entry),
        entry.max_batched_tokens,
    )


def _device(entry: PoolEntry) -> DeviceProfile:
    """Only for pools that are no API; `config_checks` sees to it that those name a device."""
    return catalog.device(str(entry.device))


def _precision(config: Config, entry: PoolEntry) -> Precision:
    return entry.precision or catalog.model(config.shape_id(entry.model)).native_precision


def _api_price(api: Api, model: str) -> ApiPrice:
    if api.price is None:
        return catalog.api_price(api.provider, model)
    price = api.price
    return ApiPrice(price.usd_per_m_input, price.usd_per_m_output, price.usd_per_m_cached_input)


def _link(entry: LinkEntry) -> Link:
    block_size = entry.kv.block_size if entry.kv else 16
    return Link(entry.gbytes_per_s * 1e9, entry.latency_s, entry.per_block_s, block_size)
