"""`tokenyard demo`: see it work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.commands import options

EXAMPLES = """Examples:

tokenyard demo

tokenyard demo --once --json report.json --duration 30 --rate-scale 2
"""


def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the report instead of serving on.")] = False,
    json_file: options.JsonFile = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Another fleet file, with `simulate: N` pools.")
    ] = None,
    classes: options.Classes = None,
    duration: Annotated[float, typer.Option("--duration", min=0.1, help="Seconds of the trace to replay.")] = 60.0,
    rate_scale: options.RateScale = 1.0,
    speed: Annotated[
        float,
        typer.Option(
            "--speed", min=0.001, max=1000, help="Of the devices, relative to real; quotes then do not match."
        ),
    ] = 1.0,
    seed: options.Seed = 1,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Of the gateway; 0: a free one.")] = None,
    operator_port: Annotated[
        int | None, typer.Option("--operator-port", min=0, max=65535, help="Of the operator listener.")
    ] = None,
) -> None:
    """Gateway, GPU, LPU and TPU workers as real HTTP processes, and ten minutes of a real trace to replay."""
    import uvloop

    from loadgen.demo import Options
    from loadgen.demo import demo as run_demo

    uvloop.run(
        run_demo(
            Options(
                config=config,
                classes=classes,
                duration_s=duration,
                rate_scale=rate_scale,
                speed=speed,
                seed=seed,
                port=port,
                operator_port=operator_port,
                json_file=json_file,
                once=once,
            )
        )
    )
