"""What a simulated worker is told: by a pool of a fleet file, or by options of the command line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from devices.catalog import did_you_mean
from devices.profile import Precision
from devices.simulated.worker_server import WorkerOptions
from devices.worker import Link, Phase
from loadgen.finding import Misuse


def configured(file: Path, pool: str | None, index: int, host: str, port: int, speed: float) -> WorkerOptions:
    """Worker `index` of a pool, exactly as the gateway's layout has it."""
    from loadgen.fleet_file import laid_out
    from router.config import load
    from router.layout import kv_precision

    config = load(file)
    known = {entry.name: entry for entry in config.pools if entry.device is not None}
    if pool not in known:
        raise Misuse(
            f"{file}: --pool {pool or '(missing)'}: no such pool with a device; {did_you_mean(pool or '', known)}"
        )
    entry = known[pool]
    if entry.simulate and index >= entry.simulate:
        raise Misuse(f"{file}: --index {index}: pool {pool} simulates {entry.simulate}, counted from 0")
    return WorkerOptions(
        device=str(entry.device),
        model=config.shape_id(entry.model),
        chips=entry.chips_per_worker,
        precision=entry.precision,
        kv_precision=kv_precision(config, entry),
        max_seqs=entry.max_seqs,
        max_batched_tokens=entry.max_batched_tokens,
        served_model=entry.model,
        name=f"{pool}-{index}",
        pool=pool,
        phases=frozenset(entry.phases),
        engine=entry.dialect,
        host=host,
        port=port,
        links={source: link for (source, target), link in laid_out(file, config).links.items() if target == pool},
        speed=speed,
        lease_s=config.limits.kv_lease_s,
    )


def precision(text: str, option: str) -> Precision:
    """A number format by name."""
    try:
        return Precision(text)
    except ValueError:
        known = [known.value for known in Precision]
        raise Misuse(f"{option} {text}: unknown number format; {did_you_mean(text, known)}") from None


def phases(text: str) -> frozenset[Phase]:
    """`prefill`, `decode`, or both with a comma."""
    try:
        return frozenset(Phase(word.strip()) for word in text.split(","))
    except ValueError:
        raise Misuse(f"--phases {text}: expected prefill, decode or prefill,decode") from None


def links(texts: Iterable[str]) -> dict[str, Link]:
    """`FROM_POOL=GBYTES_PER_S[,LATENCY_S[,PER_BLOCK_S]]`, one for each sender."""
    return dict(map(_link, texts))


def _link(text: str) -> tuple[str, Link]:
    source, _, figures = text.partition("=")
    try:
        numbers = [float(figure) for figure in figures.split(",")]
    except ValueError:
        numbers = []
    fine = 1 <= len(numbers) <= 3 and all(0 <= number < math.inf for number in numbers) and numbers[0] > 0
    if not source or not fine:
        raise Misuse(
            f"--link {text}: expected FROM_POOL=GBYTES_PER_S[,LATENCY_S[,PER_BLOCK_S]], such as h200=50,0.0005"
        )
    gbytes_per_s, latency_s, per_block_s = [*numbers, 0.0, 0.0][:3]
    return source, Link(gbytes_per_s * 1e9, latency_s, per_block_s)
