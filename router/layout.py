"""From a checked fleet file to values: workers, and the links between those that can hand KV cache over."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from devices import catalog
from devices.feasibility import limits
from devices.natures import remote
from devices.natures.choice import predictor
from devices.natures.remote import RemotePredictor
from devices.profile import DeviceProfile, Precision
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Link, Pool, Predictor, Worker
from router.links import link
from router.located import ConfigError, Loc
from router.pairs import CONNECTORS, KV_BLOCK, PairReport, Verdict, kv_precision, pair_reports
from router.schema import Api, Config, Discover, PoolEntry

__all__ = [
    "Layout",
    "PairReport",
    "Verdict",
    "addresses",
    "billing",
    "kv_precision",
    "layout",
    "pair_reports",
    "pool_limits",
]

API_KV_TOKENS = 1 << 40
"""A metered API hides its memory; this never binds."""


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
    entries = {(entry.from_pool, entry.to_pool): entry for entry in config.links}
    links = {pair: link(config, entries[pair]) for pair in entries if pair in usable}
    workers: list[Worker] = []
    for i, entry in enumerate(config.pools):
        handover = any(entry.name in pair for pair in links)
        pool = _pool(config, entry, CONNECTORS[entry.dialect] if handover else None)
        known = (urls or {}).get(entry.name) or addresses(entry, ("pools", i))
        workers += (Worker(f"{entry.name}-{k}", pool, url) for k, url in enumerate(known))
    return Layout(tuple(workers), links, pairs)


def addresses(entry: PoolEntry, at: Loc = ()) -> list[str]:
    """Origins of a pool's workers, empty where simulated. Resolves DNS: it may block, and raise `ConfigError`.

    `at` is the pool's place in the file.
    """
    if entry.simulate:
        return [""] * entry.simulate
    if entry.discover:
        return _resolved((*at, "discover", "dns"), entry.discover)
    return [url.rstrip("/") for url in entry.workers]


def _resolved(at: Loc, discover: Discover) -> list[str]:
    try:
        found = socket.getaddrinfo(discover.dns, discover.port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot resolve '{discover.dns}': {why}; or list workers, or simulate them", at) from None
    except UnicodeError:
        raise ConfigError(f"'{discover.dns}' is no host name", at) from None
    hosts = sorted({str(address[4][0]) for address in found})
    return [f"{discover.scheme}://{f'[{host}]' if ':' in host else host}:{discover.port}" for host in hosts]


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
        entry.block_size or KV_BLOCK,
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
        return _api_predictor(entry.api, entry.model)
    return predictor(
        _device(entry),
        catalog.model(config.shape_id(entry.model)),
        entry.chips_per_worker,
        _precision(config, entry),
        kv_precision(config, entry),
        entry.max_batched_tokens,
        engine=entry.dialect,
    )


def _api_predictor(api: Api, model: str) -> RemotePredictor:
    """Times as stated, else as others measured this provider, else those of one API someone measured."""
    measured = remote.profile(api.provider, model)
    known = measured.predictor() if measured else RemotePredictor()
    return replace(known, ttft_s=api.ttft_s or known.ttft_s, tpot_s=api.tpot_s or known.tpot_s)


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
