"""`tokenyard serve`: the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.commands import options

EXAMPLES = "Example: tokenyard serve --config fleet.yaml"


def serve(
    config: options.ConfigFile,
    journal: Annotated[
        Path | None, typer.Option("--journal", help="Record the scheduler's events and decisions to this file.")
    ] = None,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds that requests in flight get to finish after SIGTERM.")
    ] = 30.0,
    speed: Annotated[
        float,
        typer.Option("--speed", min=0.001, max=1000, help="Of workers under `simulate: N`, relative to their devices."),
    ] = 1.0,
) -> None:
    """The gateway of a fleet file, until SIGTERM or Ctrl-C. Pools with `simulate: N` get N embedded workers."""
    import uvloop

    from loadgen.gateway import serve as serve_gateway
    from router.config import load

    uvloop.run(serve_gateway(config, load(config), journal, drain, speed))
