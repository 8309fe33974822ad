"""`tokenyard check-config`: is a fleet file right, what fits, and what can hand KV over to what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.commands.options import AsJson

EXAMPLES = "Example: tokenyard check-config fleet.yaml"


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The fleet file (YAML).", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Pools with their limits, and the pair report: which prefill and decode pools can work together, and why."""
    from loadgen.commands import say
    from loadgen.finding import Finding
    from router.config import ConfigError, load, notices
    from router.layout import layout

    try:
        config = load(file)
    except ConfigError as error:
        raise Finding(str(error)) from None
    laid_out = layout(config)
    workers: dict[str, list[object]] = {}
    for worker in laid_out.workers:
        workers.setdefault(worker.pool.name, []).append(worker)
    pools = {worker.pool.name: worker.pool for worker in laid_out.workers}
    lines = [
        {
            "pool": pool.name,
            "workers": len(workers[pool.name]),
            "device": pool.device.id if pool.device else "API",
            "chips": pool.chips,
            "model": pool.model,
            "weights": pool.precision.value,
            "kv": pool.kv_precision.value,
            "phases": "+".join(sorted(phase.value for phase in pool.phases)),
            "kv_tokens": pool.limits.kv_tokens,
            "max_seqs": pool.limits.max_seqs,
            "usd_per_hour": pool.usd_per_s * 3600 * len(workers[pool.name]),
        }
        for pool in pools.values()
    ]
    pairs = [
        {"from": pair.from_pool, "to": pair.to_pool, "verdict": pair.verdict.value, "why": pair.why}
        for pair in laid_out.pairs
    ]
    if as_json:
        say.answer_json({"file": str(file), "pools": lines, "pairs": pairs, "notices": notices(config)})
        return
    say.table(tuple(lines[0]), [tuple(line.values()) for line in lines], "Pools")
    if pairs:
        say.table(tuple(pairs[0]), [tuple(pair.values()) for pair in pairs], "Hand-over of KV cache")
    for notice in notices(config):
        typer.echo(f"note: {notice}")
    typer.echo(f"{file}: ok")
