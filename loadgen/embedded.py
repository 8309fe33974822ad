"""Simulated workers as child processes: started together, known by their addresses, and surely ended."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from loadgen.finding import Finding, Misuse
from router.config import Config

READY_S = 30.0
"""For all workers to start; each takes about half a second of CPU."""
GRACE_S = 2.0
"""Between asking a worker to end and ending it."""

_URL = re.compile(rb"ready on (http://\S+)")
# -P: the folder the user stands in is not searched for modules, so a file named devices.py there does no harm.
_COMMAND = (sys.executable, "-P", "-c", "from loadgen.cli import main; main()", "worker")

Urls = Mapping[str, list[str]]
"""Addresses of the embedded workers, by pool, in the order of the fleet file's numbering."""


@asynccontextmanager
async def embedded(file: Path, config: Config, speed: float = 1.0) -> AsyncIterator[Urls]:
    """Run one process per worker of every `simulate: N` pool of the fleet file; raises `Finding` when one fails."""
    for entry in config.pools:
        if entry.api and entry.simulate:
            raise Misuse(
                f"{file}: pool {entry.name}: an API has no device to simulate over HTTP; give its workers' URLs"
            )
    wanted = [(pool.name, index) for pool in config.pools for index in range(pool.simulate or 0)]
    processes: list[asyncio.subprocess.Process] = []
    try:
        for pool, index in wanted:
            processes.append(await _started(file, pool, index, speed))
        try:
            async with asyncio.timeout(READY_S):
                urls = await asyncio.gather(*map(_url, processes))
        except TimeoutError:
            raise Finding(f"{file}: simulated workers were not ready within {READY_S:g} s") from None
        found: dict[str, list[str]] = {}
        for (pool, _), url in zip(wanted, urls, strict=True):
            found.setdefault(pool, []).append(url)
        yield found
    finally:
        await asyncio.gather(*map(_ended, processes))


async def _started(file: Path, pool: str, index: int, speed: float) -> asyncio.subprocess.Process:
    options = ("--config", str(file), "--pool", pool, "--index", str(index), "--speed", str(speed))
    return await asyncio.create_subprocess_exec(
        *_COMMAND,
        *options,
        *("--port", "0", "--parent", str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the gateway, which ends its workers after the last answer
    )


async def _url(process: asyncio.subprocess.Process) -> str:
    """The address in the worker's one line. What went wrong otherwise is on stderr, which it shares with us."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    found = _URL.search(line)
    if found is None:
        raise Finding("a simulated worker ended before it was ready; its own message is above")
    return found[1].decode()


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
