"""What is worth knowing about a sound fleet file: settings without effect, models without workers, files it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devices.worker import Phase
from router.layout import Verdict, billing, pair_reports
from router.located import Loc
from router.schema import Config, PoolEntry


def notices(config: Config) -> list[str]:
    """Settings that are understood but change nothing yet, and figures the catalogue does not have."""
    found = [
        f"pools[{i}].billing: {entry.device} has no published rent, so this pool counts as free; set usd_per_chip_hour"
        for i, entry in enumerate(config.pools)
        if not entry.api and billing(entry).usd_per_chip_hour == 0 and _unstated(entry)
    ]
    found += _unserved(config)
    idle = {
        "tenants": config.tenants,
        "policy.shadow": config.policy.shadow,
        "policy.share": config.policy.share < 1,
        "policy.otherwise": config.policy.otherwise,
        "models: fallbacks": any(entry.fallbacks for entry in config.models),
        "classes: deferrable": any(entry.deferrable for entry in config.classes.values()),
        "pools: api.rpm": any(entry.api and entry.api.rpm for entry in config.pools),
        "pools: api.capabilities": any(entry.api and entry.api.capabilities for entry in config.pools),
        "pools: billing.usd_minimum_per_month": any(
            entry.billing and entry.billing.usd_minimum_per_month for entry in config.pools
        ),
    }
    if config.policy.name == "prefix-affinity":
        found.append("policy: prefix-affinity knows prompt heads only in simulations; live it counts queued tokens")
    return found + [f"{name}: accepted, but not acted on by this version" for name, given in idle.items() if given]


def files(config: Config) -> Iterator[tuple[Loc, Path]]:
    """The other files a fleet file names, with the places where it does."""
    if config.listen.tls is not None:
        yield ("listen", "tls", "cert"), config.listen.tls.cert
        yield ("listen", "tls", "key"), config.listen.tls.key
    if config.operator.token_file is not None:
        yield ("operator", "token_file"), config.operator.token_file
    for i, entry in enumerate(config.pools):
        if entry.key_file is not None:
            yield ("pools", i, "key_file"), entry.key_file


def _unserved(config: Config) -> Iterator[str]:
    """Models that no pool serves whole, nor two that are linked."""
    taking = {pair.to_pool for pair in pair_reports(config) if pair.verdict is not Verdict.REPREFILL}
    served = {
        entry.model
        for entry in config.pools
        if Phase.DECODE in entry.phases and (Phase.PREFILL in entry.phases or entry.name in taking)
    }
    for i, entry in enumerate(config.models):
        if entry.name not in served:
            yield f"models[{i}]: no pool, and no linked pair of pools, serves {entry.name}: its requests are refused"


def _unstated(entry: PoolEntry) -> bool:
    return entry.billing is None or entry.billing.usd_per_chip_hour is None
