"""What must agree across a fleet file: names that refer to each other, to the catalogue, and to what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from urllib.parse import urlsplit

from devices import catalog
from devices.catalog import UnknownId, did_you_mean
from devices.feasibility import Infeasible
from devices.worker import BillingKind
from policies.table import PolicyError, load
from router.engines.table import ENGINES
from router.layout import billing, pool_limits
from router.located import Loc
from router.schema import Config, PoolEntry

Problem = tuple[Loc, str]


def problems(config: Config) -> list[Problem]:
    """Everything that contradicts something else, each with the place to look at."""
    return list(
        chain(
            _models(config),
            chain.from_iterable(_pool(config, i, entry) for i, entry in enumerate(config.pools)),
            _repeated("pool", ((("pools", i, "name"), entry.name) for i, entry in enumerate(config.pools))),
            _repeated("worker", ((("pools", i, "workers", k), url) for i, k, url in _urls(config))),
            _links(config),
            _references(config),
            _policy(config),
        )
    )


def notices(config: Config) -> list[str]:
    """Settings that are understood but change nothing yet, and figures the catalogue does not have."""
    found = [
        f"pools[{i}].billing: {entry.device} has no published rent, so this pool counts as free; set usd_per_chip_hour"
        for i, entry in enumerate(config.pools)
        if not entry.api and billing(entry).usd_per_chip_hour == 0 and _unstated(entry)
    ]
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
    return found + [f"{name}: accepted, but not acted on by this version" for name, given in idle.items() if given]


def _unstated(entry: PoolEntry) -> bool:
    return entry.billing is None or entry.billing.usd_per_chip_hour is None


def _models(config: Config) -> Iterator[Problem]:
    names = [entry.name for entry in config.models]
    places: list[tuple[Loc, str]] = []
    for i, entry in enumerate(config.models):
        places.append((("models", i, "name"), entry.name))
        places += ((("models", i, "aliases", k), alias) for k, alias in enumerate(entry.aliases))
        shape = "shape" if entry.shape else "name"
        yield from _catalogued(("models", i, shape), catalog.model, entry.shape or entry.name)
        for k, fallback in enumerate(entry.fallbacks):
            yield from _unknown(("models", i, "fallbacks", k), "model", fallback, names)
    yield from _repeated("model name", places)


def _pool(config: Config, i: int, entry: PoolEntry) -> Iterator[Problem]:
    at: Loc = ("pools", i)
    found = [
        *_unknown((*at, "model"), "model", entry.model, [known.name for known in config.models]),
        *_unknown((*at, "engine"), "engine", entry.dialect, ENGINES),
        *_hardware(at, entry),
        *_addresses(at, entry),
    ]
    yield from found
    if found or any(True for _ in _models(config)):
        return  # what fits can only be said of a pool whose parts are known
    try:
        pool_limits(config, entry)
    except Infeasible as error:
        yield (*at, "device"), str(error)
    try:
        billing(entry)
    except UnknownId as error:
        yield (*at, "api"), f"{error}; or give price: {{usd_per_m_input: ..., usd_per_m_output: ...}}"


def _hardware(at: Loc, entry: PoolEntry) -> Iterator[Problem]:
    if entry.device:
        yield from _catalogued((*at, "device"), catalog.device, entry.device)
    if (entry.device is None) == (entry.api is None):
        yield at, "needs either device or api"
    if entry.tp and entry.chips:
        yield (*at, "chips"), "tp and chips are the same thing; give one"
    metered = entry.billing is not None and entry.billing.kind is BillingKind.METERED
    if metered and not entry.api:
        yield (*at, "billing", "kind"), "only an api is metered; use on_demand, spot or committed"
    if entry.billing and entry.api and not metered:
        yield (*at, "billing", "kind"), "an api is metered"


def _addresses(at: Loc, entry: PoolEntry) -> Iterator[Problem]:
    if sum(map(bool, (entry.workers, entry.discover, entry.simulate))) != 1:
        yield at, "needs exactly one of workers, discover, simulate"
    for k, url in enumerate(entry.workers):
        why = _not_an_origin(url)
        if why:
            yield (*at, "workers", k), f"'{url}' {why}; write http://host:port"


def _not_an_origin(url: str) -> str | None:
    """Why a text is not the origin of a worker, None if it is one. Paths belong to the engines' dialects."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"is no address ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no http or https address"
    if parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        return "must be scheme, host and port only"
    return None


def _urls(config: Config) -> Iterator[tuple[int, int, str]]:
    for i, entry in enumerate(config.pools):
        for k, url in enumerate(entry.workers):
            yield i, k, url.rstrip("/")


def _links(config: Config) -> Iterator[Problem]:
    pools = [entry.name for entry in config.pools]
    for i, link in enumerate(config.links):
        yield from _unknown(("links", i, "from"), "pool", link.from_pool, pools)
        yield from _unknown(("links", i, "to"), "pool", link.to_pool, pools)
    pairs = ((("links", i), f"{link.from_pool} -> {link.to_pool}") for i, link in enumerate(config.links))
    yield from _repeated("link", pairs)


def _references(config: Config) -> Iterator[Problem]:
    classes = {*config.classes, "default"}
    for i, tenant in enumerate(config.tenants):
        for k, name in enumerate(tenant.classes):
            yield from _unknown(("tenants", i, "classes", k), "class", name, classes)
    yield from _repeated("tenant", ((("tenants", i, "name"), entry.name) for i, entry in enumerate(config.tenants)))
    trace = config.trace
    if trace.traffic_class:
        yield from _unknown(("trace", "class"), "class", trace.traffic_class, classes)
        if trace.classes is not None:
            yield ("trace", "classes"), "cannot stand beside class; give either one class or shares of several"
    for name in trace.classes or ():
        yield from _unknown(("trace", "classes", name), "class", name, classes)
    if trace.model:
        yield from _unknown(("trace", "model"), "model", trace.model, config.model_names)


def _policy(config: Config) -> Iterator[Problem]:
    """Building the policy is the check of its options; it is pure and cheap."""
    named = {"shadow": config.policy.shadow, "otherwise": config.policy.otherwise}
    for field, name in named.items():
        if name:
            yield from _built(("policy", field), name, {})
    yield from _built(("policy", "name"), config.policy.name, config.policy.options)


def _built(at: Loc, name: str, options: dict[str, object]) -> Iterator[Problem]:
    try:
        load(name, options)
    except PolicyError as error:
        yield at, str(error)


def _catalogued(at: Loc, find: Callable[[str], object], name: str) -> Iterator[Problem]:
    try:
        find(name)
    except UnknownId as error:
        yield at, str(error)


def _unknown(at: Loc, kind: str, name: str, known: Iterable[str]) -> Iterator[Problem]:
    names = list(known)
    if name not in names:
        yield at, f"unknown {kind} '{name}'; {did_you_mean(name, names)}"


def _repeated(kind: str, places: Iterable[tuple[Loc, str]]) -> Iterator[Problem]:
    seen: set[str] = set()
    for at, name in places:
        if name in seen:
            yield at, f"{kind} '{name}' is there twice"
        seen.add(name)
