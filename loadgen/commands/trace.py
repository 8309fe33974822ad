"""`tokenyard trace`: what a workload is like, which ones have names, and making files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loadgen.commands import options

app = typer.Typer(no_args_is_help=True, help="Request traces: what they are like, and making them.")

DESCRIBE = """Examples:

tokenyard trace describe my_trace.csv.gz

tokenyard trace describe --workload agentic --rate 2 --duration 600 --json
"""
MAKE = """Examples:

tokenyard trace make --workload agentic --rate 2 --duration 600 --seed 3 -o agentic.csv.gz

tokenyard trace make --rate 20 --arrivals diurnal:0.6:3600 --duration 7200 -o hours.csv.gz
"""


@app.callback()
def group() -> None:
    """Request traces."""


@app.command("describe", epilog=DESCRIBE)
def describe(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Ours, Azure's, BurstGPT's or Mooncake's, gzip or not.")
    ] = None,
    named: options.Named = None,
    rate: options.Rate = None,
    arrivals: options.Arrivals = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    rate_scale: options.RateScale = 1.0,
    seed: options.Seed = 1,
    as_json: options.AsJson = False,
) -> None:
    """Requests, rate, burstiness, lengths, and the share of prompt blocks that caches would find."""
    from loadgen.commands import say
    from loadgen.describe import describe as of_file
    from loadgen.describe import described
    from loadgen.finding import Misuse

    if file is None and named is None and rate is None:
        raise Misuse("nothing to describe: name a FILE, or a made workload with --workload or --rate")
    if file is not None and (named, rate, duration, start, rate_scale) == (None, None, None, 0.0, 1.0):
        found = of_file(file)
    else:
        workload = options.workload(file, rate, arrivals, None, None, start, duration, rate_scale, seed, named)
        found = {"file": str(file)} if file else {"workload": named}
        found |= described(workload.rows())
    if as_json:
        say.answer_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from loadgen.commands import say

    caches = found["prefix_reuse_by_cache_tokens"]
    tables = ("input_tokens", "output_tokens", "prefix_reuse", "prefix_reuse_by_cache_tokens")
    say.pairs({name: value for name, value in found.items() if name not in tables})
    spreads = [(name, *map(_tokens, found[name].values())) for name in tables[:2]]
    say.table(("tokens", *found["input_tokens"]), spreads)
    if caches is not None:
        sizes = [(f"{int(tokens):,} tokens", _percent(share)) for tokens, share in caches.items()]
        say.table(("one prefix cache of", "blocks found, %"), [*sizes, ("any size", _percent(found["prefix_reuse"]))])


def _tokens(value: float) -> float:
    return value if value < 100 else round(value)


def _percent(share: float) -> float:
    return round(100 * share, 1)


@app.command("presets", epilog="Example: tokenyard trace presets")
def presets(as_json: options.AsJson = False) -> None:
    """The workloads that have names, their figures and where these come from."""
    from dataclasses import asdict

    from loadgen.commands import say
    from loadgen.presets import PRESETS

    if as_json:
        say.answer_json([asdict(preset) for preset in PRESETS.values()])
        return
    columns = ("workload", "new in p50", "out p50", "turns", "shared p50", "think p50 s", "req/s", "sessions begin")
    say.table(
        columns,
        [
            (
                preset.name,
                round(preset.sessions.first.p50_tokens),
                round(preset.sessions.output.p50_tokens),
                preset.sessions.turns,
                round(preset.sessions.shared.p50_tokens) if preset.sessions.applications else None,
                preset.sessions.think_p50_s or None,
                preset.rate_per_s,
                preset.arrivals,
            )
            for preset in PRESETS.values()
        ],
    )
    for preset in PRESETS.values():
        typer.echo(f"{preset.name}: {preset.about}")
        for source in preset.sources:
            typer.echo(f"  {source}")


@app.command("make", epilog=MAKE)
def make(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; .gz is zipped.", show_default=False)],
    trace: options.TraceFile = None,
    named: options.Named = None,
    rate: options.Rate = None,
    arrivals: options.Arrivals = None,
    input_tokens: options.Input = None,
    output_tokens: options.Output = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    rate_scale: options.RateScale = 1.0,
    seed: options.Seed = 1,
) -> None:
    """Write a workload, or a window of somebody's trace, as a CSV file that simulate and loadtest replay."""
    from loadgen.finding import Finding
    from loadgen.trace_write import write

    workload = options.workload(
        trace, rate, arrivals, input_tokens, output_tokens, start, duration, rate_scale, seed, named
    )
    written = write(out, workload.unchained())
    if not written:
        raise Finding(f"{out}: nothing was written: no request comes between --start and the end of --duration")
    typer.echo(f"{out}: {written:,} requests")
