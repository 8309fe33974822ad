"""`tokenyard trace`: what a trace is like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.commands.options import AsJson

app = typer.Typer(no_args_is_help=True, help="Request traces: CSV with arrival_s,input_tokens,output_tokens.")


@app.callback()
def group() -> None:
    """Request traces."""


@app.command("describe", epilog="Example: tokenyard trace describe my_trace.csv.gz")
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, gzip or not.")], as_json: AsJson = False
) -> None:
    """Requests, rate, burstiness, lengths, and the share of prompt blocks that came before."""
    from loadgen.commands import say
    from loadgen.describe import describe as described

    found = described(file)
    if as_json:
        say.answer_json(found)
        return
    say.pairs({name: value for name, value in found.items() if not isinstance(value, dict)})
    spreads = {name: value for name, value in found.items() if isinstance(value, dict)}
    columns = ("tokens", "mean", "p50", "p90", "p99", "max")
    say.table(columns, [(name, *spread.values()) for name, spread in spreads.items()])
