"""The gateway as a process: embedded workers where the fleet file asks for them, one ready line, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from loadgen.embedded import embedded
from loadgen.finding import Misuse
from loadgen.fleet_file import laid_out
from router.app import App, build, running
from router.config import Config, ConfigError, notices, unreadable
from router.layout import Layout


@asynccontextmanager
async def gateway(
    file: Path, config: Config, *, journal: Path | None = None, drain_s: float = 0.0, speed: float = 1.0
) -> AsyncIterator[tuple[App, Layout]]:
    """The gateway with its embedded workers, listening; all of it is gone when the block ends."""
    if missing := unreadable(file, config):
        raise ConfigError("\n".join(missing))
    async with embedded(file, config, speed) as urls:
        fleet = laid_out(file, config, urls)
        with ExitStack() as stack:
            record: Callable[[bytes], None] | None = None
            if journal is not None:
                record = stack.enter_context(_journal(journal))
            async with running(build(config, fleet, journal=record), drain_s) as app:
                yield app, fleet


@contextmanager
def _journal(file: Path) -> Iterator[Callable[[bytes], None]]:
    """Appends lines to a fresh file; raises `Misuse` when it cannot be written."""
    try:
        out = file.open("wb", buffering=1 << 16)
    except OSError as error:
        raise Misuse(f"--journal {file}: {error.strerror}") from None

    def write(line: bytes) -> None:
        out.write(line)

    with out:
        yield write


async def serve(file: Path, config: Config, journal: Path | None, drain_s: float, speed: float) -> None:
    """Until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for notice in notices(config):
        logging.getLogger("tokenyard").warning("%s: %s", file, notice)
    stop = stopped()
    async with gateway(file, config, journal=journal, drain_s=drain_s, speed=speed) as (app, fleet):
        sys.stdout.write(f"gateway on {app.url}, operator on {app.operator_url}, {len(fleet.workers)} workers\n")
        sys.stdout.flush()
        await stop.wait()
        logging.getLogger("tokenyard").warning("stopping; requests in flight get %g s", drain_s)


def stopped() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT. A second one ends the process at once."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        event.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return event
