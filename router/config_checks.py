"""What must agree across a fleet file: names that refer to each other, to the catalogue, and to what fits."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from urllib.parse import urlsplit

from devices import catalog
from devices.catalog import UnknownId, did_you_mean
from devices.feasibility import Infeasible
from devices.worker import BillingKind
from policies.table import POLICIES, PolicyError, load
from router.engines.table import ENGINES
from router.layout import billing, pool_limits
from router.links import link_problems
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
            _listeners(config),
            _policy(config),
        )
    )


def _listeners(config: Config) -> Iterator[Problem]:
    listen, operator = config.listen, config.operator
    if listen.port and (listen.host, listen.port) == (operator.host, operator.port):
        yield ("operator", "port"), f"{operator.port} is the port of `listen` too (8080 unless set); give another"
    if operator.token_file is None and not _loopback(operator.host):
        yield (
            ("operator", "host"),
            f"{operator.host} can be reached by others; set operator.token_file, or use 127.0.0.1",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
        unknown = list(_catalogued((*at, "device"), catalog.device, entry.device))
        yield from unknown or _projected((*at, "device"), entry, entry.device)
    if (entry.device is None) == (entry.api is None):
        yield at, "needs either device or api"
    if entry.tp and entry.chips:
        yield (*at, "chips"), "tp and chips are the same thing; give one"
    metered = entry.billing is not None and entry.billing.kind is BillingKind.METERED
    if metered and not entry.api:
        yield (*at, "billing", "kind"), "only an api is metered; use on_demand, spot or committed"
    if entry.billing and entry.api and not metered:
        yield (*at, "billing", "kind"), "an api is metered"


def _projected(at: Loc, entry: PoolEntry, name: str) -> Iterator[Problem]:
    """Real traffic is not placed on timings nobody has ever measured, unless the file says so."""
    device = catalog.device(name)
    if device.placeable and device.projected and not entry.simulate and not entry.allow_projected:
        yield (
            at,
            f"nobody has published how fast {device.id} ({device.status.value}) serves language models, its timings "
            "are projected; set allow_projected: true on this pool to use them for real workers, or simulate: 1",
        )


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
    yield from link_problems(config)


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
    wrong = list(_options(config))
    yield from wrong or _built(("policy", "name"), config.policy.name, config.policy.options)


def _options(config: Config) -> Iterator[Problem]:
    """Options of our own policies by their fields; those of others are checked by building them."""
    if config.policy.name not in POLICIES:
        return
    kind = POLICIES[config.policy.name]
    found = getattr(kind, "__dataclass_fields__", {})
    known: dict[str, object] = {name: field.default for name, field in found.items() if field.init}
    for name, value in config.policy.options.items():
        at: Loc = ("policy", name)
        if name not in known:
            yield at, f"'{config.policy.name}' has no such option; {did_you_mean(name, known)}"
        elif _is_number(known[name]) and not _is_number(value):
            yield at, f"expected a number, not {value!r}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
