"""`tokenyard check-config`: is a fleet file right, what fits, and what can hand KV over to what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from router.layout import Layout

EXAMPLES = "Example: tokenyard check-config fleet.yaml"
PROMPT_TOKENS = 8192
"""Of the prompt whose hand-over is shown for every link."""


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The fleet file (YAML).")],
    as_json: AsJson = False,
) -> None:
    """Pools with their limits, and the pair report: which prefill and decode pools can work together, and why."""
    from loadgen.commands import say
    from loadgen.finding import Finding, Misuse
    from loadgen.fleet_file import laid_out
    from router.config import ConfigError, load, notices, unreadable

    if not file.exists() or file.is_dir():
        raise Misuse(f"{file}: {'is a directory' if file.is_dir() else 'no such file'}; expected a fleet file (YAML)")
    try:
        config = load(file)
        fleet = laid_out(file, config)
    except ConfigError as error:
        raise Finding(str(error)) from None
    notes = notices(config) + unreadable(file, config)
    workers: dict[str, list[object]] = {}
    for worker in fleet.workers:
        workers.setdefault(worker.pool.name, []).append(worker)
    pools = {worker.pool.name: worker.pool for worker in fleet.workers}

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
        for pair in fleet.pairs
    ]
    links = _links(fleet)
    if as_json:
        say.answer_json({"file": str(file), "pools": lines, "pairs": pairs, "links": links, "notices": notes})
        return
    say.table(tuple(lines[0]), [tuple(line.values()) for line in lines], "Pools")
    if pairs:
        say.table(tuple(pairs[0]), [tuple(pair.values()) for pair in pairs], "Hand-over of KV cache")
    if links:
        say.table(tuple(links[0]), [tuple(link.values()) for link in links], "Links in use")
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo(f"{file}: ok")


def _links(fleet: Layout) -> list[dict[str, object]]:
    """Links that may be used, each with what a prompt of `PROMPT_TOKENS` tokens takes on it."""
    from policies.quote import kv_bytes

    senders = {worker.pool.name: worker for worker in fleet.workers}
    lines: list[dict[str, object]] = []
    for (source, target), link in fleet.links.items():
        moved = kv_bytes(senders[source], PROMPT_TOKENS)
        lines.append(
            {
                "from": source,
                "to": target,
                "gbytes_per_s": round(link.bytes_per_s / 1e9, 3),
                "latency_ms": round(link.latency_s * 1e3, 4),
                "per_block_us": round(link.per_block_s * 1e6, 3),
                "prompt_tokens": PROMPT_TOKENS,
                "mbytes": round(moved / 1e6, 1),
                "ms": round(link.transfer_s(PROMPT_TOKENS, moved) * 1e3, 2),
                "usd": round(link.transfer_usd(moved), 5),
            }
        )
    return lines
