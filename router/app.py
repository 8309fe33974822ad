"""Builds every object of the gateway from a configuration, and starts and stops them in the right order."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry

from policies import table
from policies.api import Policy
from router.caller import Caller, CallLimits
from router.config import Config, ConfigError, read_secret
from router.dispatcher import Dispatcher
from router.engines.table import ENGINES
from router.fleet import Fleet
from router.gateway import Gateway, GatewayLimits
from router.http_server import HttpServer
from router.journal import Journal
from router.layout import Layout
from router.ledger import Ledger
from router.metrics import Metrics
from router.openai import OpenAi, TrafficClass
from router.operator_api import OperatorApi
from router.probe import Probe, ProbeLimits
from router.reaper import Reaper
from router.relay import Relay
from router.scheduler import Scheduler
from router.schema import Listen, Operator
from router.upstream import Upstream

REAP_S = 10.0
"""Longest clean-up after a request; a third of vLLM's default KV lease."""
BACKLOG = 1024
CLOSE_S = 1.0
"""For a handler to end once everything it waits for is closed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """With clients: for the head of a request, for its body, and for a client that takes nothing of its answer."""

    head_s: float = 10.0
    body_s: float = 30.0
    write_stall_s: float = 30.0


class App:
    """A gateway and its operator site.

    Attributes:
        url, operator_url: where they listen, once started.
    """

    def __init__(
        self,
        config: Config,
        layout: Layout,
        scheduler: Scheduler,
        clock: Callable[[], float],
        upstream_tls: ssl.SSLContext | None,
        patience: Patience,
    ) -> None:
        self.url = self.operator_url = ""
        self.scheduler = scheduler
        self.ledger = Ledger()
        self.dispatcher = Dispatcher(scheduler, clock)
        self.reaper = Reaper(REAP_S)
        self.upstream = Upstream(connect_timeout_s=config.limits.connect_timeout_s, ssl=upstream_tls)
        registry = CollectorRegistry()
        metrics = _metrics(registry, config, scheduler, clock)
        self.gateway = self._gateway(config, layout, metrics, clock, patience)
        token = _operator_token(config.operator)
        self.operator = OperatorApi(registry, self.gateway, self.ledger, scheduler, self.reaper, self.upstream, token)
        self._probes = self._watchers(config, layout, clock)
        self._listen, self._operator_listen = config.listen, config.operator
        self._tls, self._head_s = _server_tls(config.listen), patience.head_s
        self._stack = AsyncExitStack()

    def _gateway(
        self, config: Config, layout: Layout, metrics: Metrics, clock: Callable[[], float], patience: Patience
    ) -> Gateway:
        limits = config.limits
        caller = Caller(
            self.upstream,
            _keys(config),
            CallLimits(stall_s=limits.stall_timeout_s, kv_lease_s=limits.kv_lease_s),
        )
        relay = Relay(caller, ENGINES, self.reaper)
        bounds = GatewayLimits(
            body_bytes=limits.body_bytes,
            body_s=patience.body_s,
            head_hold_s=limits.head_hold_s,
            attempts=limits.attempts,
            write_stall_s=patience.write_stall_s,
        )
        return Gateway(_openai(config, layout), self.ledger, self.dispatcher, relay, metrics, bounds, clock)

    def _watchers(self, config: Config, layout: Layout, clock: Callable[[], float]) -> list[Probe]:
        """One for each worker but those of metered APIs: these have no health check, and asking may cost."""
        limits = ProbeLimits(interval_s=config.limits.probe_interval_s)
        return [
            Probe(worker, ENGINES[worker.pool.engine], self.upstream, self.dispatcher, limits, clock)
            for worker in layout.workers
            if not worker.pool.metered
        ]

    async def start(self) -> None:
        """Listen, then look at the workers: requests may come at once."""
        async with AsyncExitStack() as stack:
            stack.callback(self.dispatcher.close)
            stack.push_async_callback(self.upstream.close)
            self.operator_url = await _site(stack, self.operator.handle, self._operator_listen, None, self._head_s)
            stack.push_async_callback(self.reaper.close)
            self.url = await _site(stack, self.gateway.handle, self._listen, self._tls, self._head_s)
            watch = await stack.enter_async_context(asyncio.TaskGroup())
            watchers = [watch.create_task(probe.run()) for probe in self._probes]
            stack.callback(lambda: [watcher.cancel() for watcher in watchers])
            self._stack = stack.pop_all()

    async def stop(self, drain_s: float = 0.0) -> None:
        """Not ready from now on; requests in flight get `drain_s` seconds to finish, then an error in band."""
        await self.gateway.drain(drain_s)
        await self._stack.aclose()


def build(
    config: Config,
    layout: Layout,
    *,
    policy: Policy | None = None,
    journal: Callable[[bytes], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    upstream_tls: ssl.SSLContext | None = None,
    patience: Patience = Patience(),
) -> App:
    """One gateway. `policy` replaces the configured one; `journal` takes the scheduler's life as lines."""
    fleet = Fleet(layout.workers, layout.links)
    chosen = policy or table.load(config.policy.name, config.policy.options)
    queue, timeout_s = config.limits.queue, config.limits.queue_timeout_s
    scheduler = (
        Scheduler(fleet, chosen, queue_limit=queue, queue_timeout_s=timeout_s)
        if journal is None
        else Journal(fleet, chosen, write=journal, queue_limit=queue, queue_timeout_s=timeout_s)
    )
    return App(config, layout, scheduler, clock, upstream_tls, patience)


@asynccontextmanager
async def running(app: App, drain_s: float = 0.0) -> AsyncIterator[App]:
    """The app, started; stopped when the block ends."""
    await app.start()
    try:
        yield app
    finally:
        await app.stop(drain_s)


def _openai(config: Config, layout: Layout) -> OpenAi:
    context_tokens: dict[str, int] = {}
    for worker in layout.workers:
        pool = worker.pool
        context_tokens[pool.model] = max(context_tokens.get(pool.model, 0), pool.limits.max_context_tokens)
    classes = [
        TrafficClass(name, entry.slo, entry.usd_per_miss, entry.min_bits) for name, entry in config.classes.items()
    ]
    return OpenAi(config.model_names, classes, context_tokens)


def _metrics(registry: CollectorRegistry, config: Config, scheduler: Scheduler, clock: Callable[[], float]) -> Metrics:
    return Metrics(
        registry,
        fleet=scheduler.fleet,
        models=config.model_names,
        classes={name: entry.slo for name, entry in config.classes.items()},
        waiting=lambda: scheduler.waiting,
        clock=clock,
    )


def _keys(config: Config) -> Mapping[str, str]:
    return {pool.name: read_secret(pool.key_file) for pool in config.pools if pool.key_file is not None}


def _operator_token(operator: Operator) -> str:
    """The token; raises `ConfigError` for a listener others can reach that has none."""
    if operator.token_file is not None:
        return read_secret(operator.token_file)
    if not _loopback(operator.host):
        raise ConfigError(
            f"operator.host: {operator.host} can be reached by others; set operator.token_file, or use 127.0.0.1"
        )
    return ""


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server_tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listen.tls.cert, listen.tls.key)
    except OSError as error:
        raise ConfigError(f"listen.tls: cannot use {listen.tls.cert} with {listen.tls.key}: {error}") from None
    return context


async def _site(
    stack: AsyncExitStack,
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    listen: Listen | Operator,
    tls: ssl.SSLContext | None,
    head_timeout_s: float,
) -> str:
    """Listen until the stack unwinds; returns the address, with the port that was taken."""
    runner = web.ServerRunner(HttpServer(handle, head_timeout_s=head_timeout_s), shutdown_timeout=CLOSE_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, listen.host, listen.port, ssl_context=tls, backlog=BACKLOG).start()
    except OSError as error:
        raise ConfigError(f"cannot listen on {listen.host}:{listen.port}: {error.strerror or error}") from None
    host, port = runner.addresses[0][:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
