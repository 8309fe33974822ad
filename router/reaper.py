"""Clean-up that must outlive the request that caused it, such as freeing KV a client walked away from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

_log = logging.getLogger("tokenyard.reaper")


class Reaper:
    """Runs clean-up jobs in tasks of its own, each for at most `limit_s`. Owned by the app, not by a request."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pending(self) -> int:
        """Jobs not over yet."""
        return len(self._tasks)

    def take(self, name: str, job: Coroutine[None, None, None]) -> None:
        """Start a job; it must free what it holds in its own `finally`, also when it is cut short at once."""
        task = asyncio.get_running_loop().create_task(self._bounded(name, job), name=f"reaper: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bounded(self, name: str, job: Coroutine[None, None, None]) -> None:
        try:
            async with asyncio.timeout(0 if self._closed else self._limit_s):
                await job
        except Exception as error:  # noqa: BLE001 - one failed clean-up must not take the others with it
            _log.warning("clean-up '%s' failed: %s", name, repr(error))

    async def close(self) -> None:
        """Wait for the jobs, each of which ends within its limit; later ones run only to free what they hold."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(set(self._tasks))
