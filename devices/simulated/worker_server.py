"""A simulated worker as a process: catalogue entries in, one ready line out, SIGTERM to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import uvloop

from devices import catalog, feasibility
from devices.natures import choice
from devices.profile import Precision
from devices.simulated.server import WorkerIdentity, WorkerServer
from devices.worker import Link, Phase

__all__ = ["WorkerIdentity", "WorkerOptions", "WorkerServer", "build_worker", "serve_worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What `tokenyard worker` is told.

    Attributes:
        device, model: ids of the catalogue.
        precision: None for the model's native one.
        served_model: the name clients ask for, where it is not the catalogue's.
        links: inbound, by the sender's pool; KV from a pool without a link is prefilled again here.
        speed: model seconds per wall second.
        lease_s: model seconds that KV waits for its decode worker.
    """

    device: str
    model: str
    chips: int = 1
    precision: Precision | None = None
    kv_precision: Precision = Precision.FP16
    max_seqs: int | None = None
    max_batched_tokens: int | None = None
    block_size: int = 16
    served_model: str | None = None
    name: str = "worker"
    pool: str = "local"
    phases: frozenset[Phase] = frozenset(Phase)
    engine: str = "vllm"
    host: str = "127.0.0.1"
    port: int = 8000
    links: Mapping[str, Link] = field(default_factory=dict)
    speed: float = 1.0
    lease_s: float = 30.0


def build_worker(options: WorkerOptions) -> WorkerServer:
    """Raises `catalog.UnknownId` and `feasibility.Infeasible`."""
    device, shape = catalog.device(options.device), catalog.model(options.model)
    precision = options.precision or shape.native_precision
    limits = feasibility.limits(
        device,
        shape,
        options.chips,
        precision,
        options.kv_precision,
        options.max_seqs,
        options.max_batched_tokens,
        options.block_size,
    )
    predictor = choice.predictor(
        device,
        shape,
        options.chips,
        precision,
        options.kv_precision,
        options.max_batched_tokens,
        engine=options.engine,
    )
    identity = WorkerIdentity(
        name=options.name,
        pool=options.pool,
        model=options.served_model or options.model,
        device=options.device,
        chips=options.chips,
        phases=options.phases,
        engine=options.engine,
        host=options.host,
        port=options.port,
        links=options.links,
        kv_bytes_per_token=shape.kv_bytes(1, options.kv_precision),
        speed=options.speed,
        lease_s=options.lease_s,
    )
    return WorkerServer(identity, predictor, limits)


def serve_worker(options: WorkerOptions) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `build_worker` raises, and OSError if the port is taken."""
    uvloop.run(_serve(build_worker(options)))


async def _serve(server: WorkerServer) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server:
        sys.stdout.write(server.ready_line + "\n")
        sys.stdout.flush()
        await stop.wait()
