"""Asks each worker how it is: whether it answers, and how busy it says it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from devices.worker import Worker
from router.dispatcher import Dispatcher
from router.engines.api import Engine
from router.errors import UpstreamConnectFailed, UpstreamError, UpstreamTimeout
from router.upstream import Upstream

MAX_METRICS_BYTES = 4 << 20

_log = logging.getLogger("tokenyard.probe")


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """When an answer is late, and when a worker is lost.

    Attributes:
        failures: bad answers in a row; a refused connection counts for all of them.
        silent_s: a worker that accepts and says nothing may be busy with a long prefill, so it gets this long.
    """

    interval_s: float = 1.0
    timeout_s: float = 1.0
    failures: int = 2
    silent_s: float = 10.0


class Probe:
    """Watches one worker."""

    def __init__(
        self,
        worker: Worker,
        engine: Engine,
        upstream: Upstream,
        dispatcher: Dispatcher,
        limits: ProbeLimits,
        clock: Callable[[], float],
    ) -> None:
        self._worker = worker
        self._engine = engine
        self._upstream = upstream
        self._dispatcher = dispatcher
        self._limits = limits
        self._clock = clock
        self._failures = 0
        self._heard_s = clock()

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            try:
                await self.once()
            except Exception:  # noqa: BLE001 - a bug in reading one worker must not end the watch over it
                _log.exception("probing worker %s failed; the probe goes on", self._worker.name)
            await asyncio.sleep(self._limits.interval_s)

    async def once(self) -> None:
        """One look at the worker's health, and at its load if it is healthy."""
        try:
            status, _ = await self._get(self._engine.health_path, MAX_METRICS_BYTES)
        except UpstreamConnectFailed as error:
            self._lost(error.detail or error.message)
        except UpstreamTimeout:
            if self._clock() - self._heard_s > self._limits.silent_s:
                self._lost(f"no answer for {self._limits.silent_s:g} s")
                self._upstream.give_up(self._worker.url, self._limits.silent_s)
        except UpstreamError as error:
            self._failed(str(error))
        else:
            self._heard_s = self._clock()
            if status != HTTPStatus.OK:
                self._failed(f"{self._engine.health_path} answered {status}")
                return
            self._found()
            await self._read_load()

    async def _read_load(self) -> None:
        """Metrics that are late or missing say nothing about the worker's health."""
        if self._engine.metrics_path is None:
            return
        try:
            status, text = await self._get(self._engine.metrics_path, MAX_METRICS_BYTES)
        except UpstreamError:
            return
        if status == HTTPStatus.OK:
            self._dispatcher.report(self._worker.name, self._engine.read_load(text, self._clock()))

    async def _get(self, path: str, limit_bytes: int) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                async with await self._upstream.request(
                    self._worker.url, "GET", path, {}, b"", head_timeout_s=None
                ) as response:
                    return response.status, await response.read(limit_bytes)
        except TimeoutError:
            raise UpstreamTimeout from None

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures >= self._limits.failures:
            self._lost(why)

    def _lost(self, why: str) -> None:
        if self._dispatcher.routable(self._worker.name):
            _log.warning("worker %s at %s is lost: %s", self._worker.name, self._worker.url, why)
            self._dispatcher.worker_lost(self._worker.name)

    def _found(self) -> None:
        self._failures = 0
        if not self._dispatcher.routable(self._worker.name):
            _log.warning("worker %s at %s is back", self._worker.name, self._worker.url)
            self._dispatcher.worker_found(self._worker.name)
