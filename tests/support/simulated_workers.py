"""Simulated workers on free ports whose model time stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import orjson

from devices.simulated.worker_server import WorkerIdentity, WorkerServer
from devices.worker import Limits, Link

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
PROMPT = "abc " * 100
"""100 tokens."""


class OneSecondSteps:
    """An iteration takes 1 s, and 1 s more for each 100 prompt tokens in it."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return 1.0 + sum(new for new, _ in chunks) / 100


@dataclass(order=True)
class HandTimer:
    at_s: float
    number: int
    callback: Callable[[], object] | None = field(compare=False)

    def cancel(self) -> None:
        self.callback = None


class HandClock:
    """Time passes when a test says so; timers fire in order, each at its own time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._timers: list[HandTimer] = []
        self._count = 0

    def call_at(self, at_s: float, callback: Callable[[], object]) -> HandTimer:
        self._count += 1
        timer = HandTimer(max(at_s, self.now_s), self._count, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def move_to(self, at_s: float) -> None:
        while self._timers and self._timers[0].at_s <= at_s:
            timer = heapq.heappop(self._timers)
            self.now_s = timer.at_s
            if timer.callback is not None:
                timer.callback()
        self.now_s = at_s


@dataclass
class Running:
    """A worker being served, its clock, and a client of it."""

    server: WorkerServer
    clock: HandClock
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.server.url

    def post(self, path: str = COMPLETIONS, **body: object) -> aiohttp.client._RequestContextManager:
        if path == COMPLETIONS:
            body = {"prompt": PROMPT, **body}
        return self.http.post(self.url + path, data=orjson.dumps(body))

    async def json(self, path: str = COMPLETIONS, **body: object) -> dict[str, object]:
        async with self.post(path, **body) as response:
            assert response.status == 200
            answer: dict[str, object] = orjson.loads(await response.read())
            return answer

    async def get(self, path: str) -> bytes:
        async with self.http.get(self.url + path) as response:
            assert response.status == 200
            return await response.read()

    async def state(self) -> dict[str, float]:
        found: dict[str, float] = orjson.loads(await self.get("/debug/state"))
        return found

    async def metric(self, name: str) -> float:
        """The one sample of that name, labels and all."""
        lines = (await self.get("/metrics")).decode().splitlines()
        [value] = [line.rpartition(" ")[2] for line in lines if line.startswith((name + "{", name + " "))]
        return float(value)


@asynccontextmanager
async def simulated(
    name: str = "w",
    pool: str = "p",
    *,
    clock: HandClock | None = None,
    kv_tokens: int = 16_000,
    max_seqs: int = 8,
    links: Mapping[str, Link] | None = None,
    engine: str = "vllm",
    lease_s: float = 30.0,
) -> AsyncIterator[Running]:
    """Leaving the block proves that the worker is empty, but for KV that a lease still holds."""
    clock = clock or HandClock()
    identity = WorkerIdentity(
        name=name, pool=pool, model="m", engine=engine, lease_s=lease_s, links=links or {}, kv_bytes_per_token=1000.0
    )
    limits = Limits(kv_tokens, max_seqs, False, 2000, 8000)
    async with (
        WorkerServer(identity, OneSecondSteps(), limits, clock) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as http,
    ):
        yield Running(server, clock, http)
        worker = server.worker
        await until(lambda: not (worker.running or worker.waiting or worker.transferring))
        assert worker.kv_tokens == worker.pinned_tokens
        assert worker.submitted == worker.finished + worker.aborted


async def until(fact: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something that tells nobody when it happens."""
    async with asyncio.timeout(within_s):
        while not fact():  # noqa: ASYNC110 - nothing here could set an event
            await asyncio.sleep(0.001)


def data_of(text: bytes) -> list[str]:
    """The data of every event of a stream."""
    return [line.removeprefix("data: ") for line in text.decode().split("\n") if line.startswith("data: ")]
