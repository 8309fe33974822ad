"""Options that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loadgen.workload import Workload

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The fleet file (YAML).", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file; - is stdout.")]

TraceFile = Annotated[
    Path | None,
    typer.Option("--trace", help="Replay this trace: ours, Azure's, BurstGPT's or Mooncake's, gzip or not."),
]
Named = Annotated[
    str | None, typer.Option("--workload", help="A made workload by name; tokenyard trace presets lists them.")
]
Rate = Annotated[float | None, typer.Option("--rate", min=1e-6, max=1e6, help="Made arrivals: requests per second.")]
Arrivals = Annotated[
    str | None,
    typer.Option(
        "--arrivals",
        help="Made arrivals: poisson, gamma:CV, mmpp:FACTOR:BURST_S:CALM_S or diurnal:AMPLITUDE[:PERIOD_S].",
        show_default="poisson, or the workload's own",
    ),
]
Input = Annotated[str | None, typer.Option("--input", help="Prompt tokens where no trace is given: P50 or P50:SIGMA.")]
Output = Annotated[str | None, typer.Option("--output", help="Answer tokens, likewise.")]
Start = Annotated[float, typer.Option("--start", min=0, help="Skip this many seconds of the trace.")]
Duration = Annotated[float | None, typer.Option("--duration", min=1e-6, help="Seconds of load, after scaling.")]
RateScale = Annotated[float, typer.Option("--rate-scale", min=1e-6, max=1e6, help="Replay this many times as fast.")]
Classes = Annotated[str | None, typer.Option("--classes", help="Shares of the configured classes: chat:0.6,batch:0.4.")]
Tenants = Annotated[str | None, typer.Option("--tenants", help="Shares of tenants: acme:0.7,other:0.3.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every draw: arrivals, lengths, classes, policies.")]
Model = Annotated[str | None, typer.Option("--model", help="The model to ask for.")]


def workload(
    trace: Path | None,
    rate: float | None,
    arrivals: str | None,
    input_tokens: str | None,
    output_tokens: str | None,
    start: float,
    duration: float | None,
    rate_scale: float,
    seed: int,
    name: str | None = None,
) -> Workload:
    """The workload these options describe; raises `WorkloadError`."""
    from loadgen.arrivals import arrivals as parsed
    from loadgen.lengths import lognormal
    from loadgen.presets import preset
    from loadgen.workload import INPUT, OUTPUT, Workload, WorkloadError

    named = None if name is None else preset(name)
    if named is not None and (input_tokens or output_tokens):
        raise WorkloadError("--input and --output are for made lengths: leave them out with --workload")
    starts = arrivals or (named.arrivals if named else "poisson")
    rate_per_s = rate if rate or named is None else named.rate_per_s
    try:
        parsed(starts)
        prompt = lognormal(input_tokens) if input_tokens else INPUT
        answer = lognormal(output_tokens) if output_tokens else OUTPUT
    except ValueError as error:
        raise WorkloadError(str(error)) from None
    seconds = math.inf if duration is None else duration
    return Workload(trace, rate_per_s, starts, prompt, answer, start, seconds, rate_scale, seed, named)


def headers(texts: Sequence[str]) -> dict[str, str]:
    """`name: value` lines; raises `WorkloadError` for anything else."""
    from loadgen.workload import WorkloadError

    found = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not f"{name}{value}".isprintable():
            raise WorkloadError(f"--header {text!r}; expected 'name: value'")
        found[name.strip().lower()] = value.strip()
    return found


def one_thread() -> None:
    """Before numpy is imported: on matrices of a few hundred rows, threads of its BLAS mostly wait for each other."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
