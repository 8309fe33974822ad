"""`tokenyard demo`: a gateway over an embedded simulated fleet, a real trace replayed through it over HTTP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from loadgen.board import COLUMNS, Board
from loadgen.commands import say
from loadgen.gateway import gateway, stopped
from loadgen.live import check_completed, remarks, run
from loadgen.loadtest import LoadTest, Target
from loadgen.report import Json, report
from loadgen.show import shown
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from router.config import Config, load

CLASSES = "chat:0.6,agent:0.2,batch:0.2"
"""Shares of the classes of the packaged fleet; an own fleet file brings its own, in `trace` or by `--classes`."""
REFRESH_S = 0.5
PLAIN_S = 10.0
"""Between two lines where nobody watches a terminal."""


def packaged(name: str) -> Path:
    """A file that ships with the package."""
    return Path(str(resources.files("loadgen") / "data" / name))


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    config: Path | None
    classes: str | None
    duration_s: float
    rate_scale: float
    speed: float
    seed: int
    port: int | None
    operator_port: int | None
    json_file: Path | None
    once: bool


async def demo(options: Options) -> None:
    """Start, replay, report; then serve until Ctrl-C unless it is to run once. Raises `Finding`."""
    file = options.config or packaged("demo.yaml")
    config = _listening(load(file), options)
    traffic = Traffic.of(config, None, options.classes or (None if options.config else CLASSES), options.seed)
    stop = stopped()
    async with gateway(file, config, speed=options.speed) as (app, laid_out):
        where = f"gateway on {app.url}, operator on {app.operator_url}"
        _say(f"{where}, {len(laid_out.workers)} workers as processes of their own", options)
        rows = Workload(
            packaged("azure2023_conv_10min.csv.gz"), duration_s=options.duration_s, rate_scale=options.rate_scale
        )
        test = LoadTest(Target(app.url, traffic.model, simulated=True, seed=options.seed), traffic)
        began_s = time.process_time()
        async with _watched(Board(app.scheduler.fleet, test), options):
            await _unless(stop, asyncio.create_task(test.run(rows.rows())))
        if stop.is_set():
            return
        cpu_s = time.process_time() - began_s
        made = report(run(test, config.policy.name, laid_out.workers, None, cpu_s))
        _tell(made, test, options)
        check_completed(test.results)
        if not options.once:
            _say(f"serving until Ctrl-C; metrics on {app.operator_url}/metrics; try:\n  {_curl(app.url)}", options)
            await stop.wait()


def _listening(config: Config, options: Options) -> Config:
    """The configuration with the ports of the command line."""
    listen = config.listen if options.port is None else config.listen.model_copy(update={"port": options.port})
    operator = config.operator
    if options.operator_port is not None:
        operator = operator.model_copy(update={"port": options.operator_port})
    return config.model_copy(update={"listen": listen, "operator": operator})


async def _unless(stop: asyncio.Event, work: asyncio.Task[None]) -> None:
    """Wait for the work, or give it up when asked to stop."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, stopping):
        task.cancel()
    ended = await asyncio.gather(work, stopping, return_exceptions=True)
    if isinstance(ended[0], Exception):
        raise ended[0]


@asynccontextmanager
async def _watched(board: Board, options: Options) -> AsyncIterator[None]:
    """Show the board while the block runs: a live table on a terminal, else a line now and then."""
    console = Console()
    watcher = asyncio.create_task(_live(board, console) if console.is_terminal else _plain(board, options))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _live(board: Board, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_table(board), refresh=True)
            await asyncio.sleep(REFRESH_S)


async def _plain(board: Board, options: Options) -> None:
    while True:
        await asyncio.sleep(PLAIN_S)
        _say(board.total(), options)


def _table(board: Board) -> Table:
    table = Table(caption=board.total(), caption_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "pool" else "right")
    for pool, workers, in_flight, rate, ttft_ms, tpot_ms, prefills, decodes, usd in board.lines(time.monotonic()):
        table.add_row(
            *(pool, str(workers), str(in_flight), f"{rate:,.0f}", _ms(ttft_ms), _ms(tpot_ms)),
            *(str(prefills), str(decodes), f"{usd:.2f}"),
        )
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _tell(made: Json, test: LoadTest, options: Options) -> None:
    whole = {"command": "demo", "seed": options.seed, "runs": [made]}
    if options.json_file is not None:
        say.save_json(options.json_file, whole)
    if str(options.json_file) != "-":
        shown([made])
    for remark in remarks(test):
        say.complain(remark)


def _curl(url: str) -> str:
    body = '{"model": "default", "stream": true, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}'
    return f"curl -N {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"


def _say(text: str, options: Options) -> None:
    """For people: on stdout, unless the report goes there."""
    out = sys.stderr if str(options.json_file) == "-" else sys.stdout
    out.write(f"{text}\n")
    out.flush()
