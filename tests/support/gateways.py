"""A whole gateway on free ports in front of workers a test brings, and the proof at its end that nothing was left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import orjson
from builders import BOTH, DECODE, PREFILL, pool
from fake_worker import FakeWorker

from devices.worker import Link, Phase, Pool, Worker
from policies.api import FleetView, Placement, Policy, Request
from router.app import App, Patience, build, running
from router.layout import Layout
from router.ledger import Entry
from router.schema import Config

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Pairs:
    """Tries the named (prefill, decode) pairs in order, as far as they are free and not to be avoided."""

    pairs: tuple[tuple[str, str], ...]

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        decoders = {worker.name: worker for worker in fleet.decoders(request)}
        for prefill_name, decode_name in self.pairs:
            if decode := decoders.get(decode_name):
                for prefill in fleet.prefillers(request, decode):
                    if prefill.name == prefill_name:
                        return Placement(prefill, decode, fleet.quote(request, prefill, decode, now))
        return None


@dataclass
class Served:
    """A running gateway and a client of it."""

    app: App
    http: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, path: str = CHAT, **fields: object) -> aiohttp.client._RequestContextManager:
        """A chat that says hello, with these fields on top; `async with served.post() as answer`."""
        if path == CHAT:
            fields = {"messages": HELLO, **fields}
        elif path == COMPLETIONS:
            fields = {"prompt": "hello", **fields}
        return self.send(orjson.dumps({"model": "m", **fields}), path)

    def send(self, body: bytes, path: str = CHAT, **headers: str) -> aiohttp.client._RequestContextManager:
        """These very bytes."""
        all_headers = {"content-type": "application/json", **self.headers, **headers}
        return self.http.post(self.app.url + path, data=body, headers=all_headers)

    async def events(self, **fields: object) -> list[str]:
        """The data of every event of a streamed chat."""
        async with self.post(stream=True, **fields) as answer:
            assert answer.status == 200
            return data_of(await answer.text())

    @property
    def last(self) -> Entry:
        """The entry that ended last."""
        return list(self.app.ledger.recent.values())[-1]


def data_of(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


def content_of(events: list[str]) -> str:
    """The text of a stream's events."""
    choices = [choice for event in events if event != "[DONE]" for choice in orjson.loads(event).get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def until(fact: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something that tells nobody when it happens."""
    async with asyncio.timeout(within_s):
        while not fact():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


def at_rest(app: App) -> bool:
    """Nothing is open, waiting, reserved, being cleaned up or connected."""
    scheduler = app.scheduler
    open_ = app.ledger.in_flight + scheduler.waiting + scheduler.reserved + app.reaper.pending
    return scheduler.fleet.idle and not open_


def of(fake: FakeWorker, name: str, phases: frozenset[Phase] = BOTH, like: Pool | None = None) -> Worker:
    """A fleet's worker at a fake one's address."""
    return Worker(name, like or pool(name, phases=phases), fake.url)


def pair(prefill: FakeWorker, decode: FakeWorker) -> tuple[list[Worker], Pairs]:
    """Two workers that can only serve together."""
    return [of(prefill, "p", PREFILL), of(decode, "d", DECODE)], Pairs((("p", "d"),))


PATIENT = Patience()


@asynccontextmanager
async def serving(
    workers: list[Worker],
    policy: Policy | None = None,
    *,
    limits: Mapping[str, object] | None = None,
    classes: Mapping[str, object] | None = None,
    operator: Mapping[str, object] | None = None,
    clock: Callable[[], float] = time.monotonic,
    patience: Patience = PATIENT,
    journal: Callable[[bytes], None] | None = None,
) -> AsyncIterator[Served]:
    """Every pair of pools is linked. Leaving the block checks the books and that everything was given back."""
    config = Config.model_validate(
        {
            "listen": {"port": 0},
            "operator": {"port": 0, **(operator or {})},
            "models": [{"name": "m", "aliases": ["default"]}],
            "classes": {"chat": {"ttft_s": 1.0, "tpot_s": 0.05}, **(classes or {})},
            "pools": [{"name": "unused", "model": "m", "device": "h100-sxm", "simulate": 1}],
            "limits": {"probe_interval_s": 0.02, **(limits or {})},
            "policy": {"name": "least-load"},
        }
    )
    names = {worker.pool.name for worker in workers}
    links = {(a, b): Link(50e9) for a in names for b in names if a != b}
    app = build(
        config, Layout(tuple(workers), links, ()), policy=policy, clock=clock, patience=patience, journal=journal
    )
    async with running(app), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as http:
        yield Served(app, http)
        await until(lambda: at_rest(app))
        assert all(app.ledger.invariants().values())
        await until(lambda: not app.upstream.connections_in_use)
