"""`tokenyard worker`: one simulated device as a real HTTP server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """Examples:

tokenyard worker --device h200-sxm --model llama-3.1-70b --tp 4 --precision fp8 --port 8000

tokenyard worker --config fleet.yaml --pool lpu --index 0 --port 0
"""


def worker(
    device: Annotated[str | None, typer.Option("--device", help="As in `tokenyard devices list`.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="A model of the catalogue: llama-3.1-8b.")] = None,
    chips: Annotated[int, typer.Option("--tp", "--chips", min=1, help="Chips of the worker.")] = 1,
    precision: Annotated[str | None, typer.Option("--precision", help="Of the weights; else the model's own.")] = None,
    kv_precision: Annotated[str, typer.Option("--kv-precision", help="Of the KV cache.")] = "fp16",
    phases: Annotated[str, typer.Option("--phases", help="prefill, decode, or both.")] = "prefill,decode",
    engine: Annotated[str, typer.Option("--engine", help="vllm, or openai: the same without hand-over.")] = "vllm",
    served_model: Annotated[str | None, typer.Option("--served-model", help="The name clients use.")] = None,
    name: Annotated[str, typer.Option("--name", help="What it calls itself.")] = "worker",
    link: Annotated[
        list[str] | None,
        typer.Option("--link", help="Inbound KV path: FROM_POOL=GBYTES_PER_S[,LATENCY_S[,PER_BLOCK_S]]."),
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Its pool: how decode workers find its link.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Take all of the above from --pool of this fleet file.")
    ] = None,
    index: Annotated[int, typer.Option("--index", min=0, help="With --config: which worker of the pool.")] = 0,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, max=1000, help="Run this many times as fast as real.")
    ] = 1.0,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
) -> None:
    """Runs until Ctrl-C or SIGTERM and prints one line when it can be called."""
    from devices.simulated.worker_server import WorkerOptions, serve_worker
    from loadgen import worker_options
    from loadgen.finding import Misuse
    from loadgen.parent import die_with

    if parent is not None:
        die_with(parent)
    if config is not None:
        options = worker_options.configured(config, pool, index, host, port, speed)
    elif device is None or model is None:
        raise Misuse("worker: give --device and --model, or --config and --pool; see tokenyard worker --help")
    elif engine not in ("vllm", "openai"):
        raise Misuse(f"--engine {engine}: simulated workers speak vllm or openai")
    else:
        options = WorkerOptions(
            device=device,
            model=model,
            chips=chips,
            precision=worker_options.precision(precision, "--precision") if precision else None,
            kv_precision=worker_options.precision(kv_precision, "--kv-precision"),
            served_model=served_model,
            name=name,
            pool=pool or "local",
            phases=worker_options.phases(phases),
            engine=engine,
            host=host,
            port=port,
            links=worker_options.links(link or ()),
            speed=speed,
        )
    try:
        serve_worker(options)
    except OSError as error:
        raise Misuse(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host or --port"
        ) from None
