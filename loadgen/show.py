"""A report on a terminal: the runs side by side, then what each pool and class did. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadgen.commands import say

Run = Mapping[str, Any]


def shown(runs: Sequence[Run]) -> None:
    """The tables of a report's `runs`."""
    summaries = [_summary(run) for run in runs]
    rows = [(name, *(summary[name] for summary in summaries)) for name in summaries[0]]
    say.table(("", *(run["policy"] for run in runs)), rows)
    for run in runs:
        say.table(_POOLS, _pools(run), f"Pools, {run['policy']}")
        if len(run["by_class"]) > 1:
            say.table(_CLASSES, _classes(run), f"Classes, {run['policy']}")


def shown_summary(lines: Sequence[Run]) -> None:
    """A sweep: one line per fleet, rate and policy; mean and standard deviation over seeds."""
    fleets = len({line["config"] for line in lines}) > 1
    head = (
        *(("fleet",) if fleets else ()),
        "req/s",
        "policy",
        "seeds",
        "kept",
        "good req/s",
        "TTFT p99 ms",
        "USD/M good",
    )
    say.table(head, [(*((Path(line["config"]).stem,) if fleets else ()), *_swept(line)) for line in lines])


def _swept(line: Run) -> tuple[object, ...]:
    return (
        *(_mean(line["offered_rps"]), line["policy"], line["seeds"]),
        *(_mean(line["slo_attainment"], 100, "%"), _mean(line["goodput_rps"])),
        *(_mean(line["ttft_p99_s"], 1000), _mean(line["usd_per_mtok_good"])),
    )


def _mean(over: Mapping[str, float | None], scale: float = 1.0, unit: str = "") -> str:
    mean, sd = over["mean"], over["sd"]
    if mean is None:
        return "-"
    return f"{mean * scale:.4g}{unit}" + (f" ± {sd * scale:.2g}" if sd else "")


def _summary(run: Run) -> dict[str, object]:
    return {
        "requests": run["requests"],
        "completed": run["completed"],
        "rejected": run["rejected"],
        "failed": run["failed"],
        "kept their promise": _share(run["slo_attainment"]),
        "good requests/s": run["goodput_rps"],
        "TTFT p50 / p99 ms": _ms(run["ttft_s"]),
        "TPOT p50 / p99 ms": _ms(run["tpot_s"]),
        "ITL p50 / p99 ms": _ms(run["itl_s"]),
        "USD, whole fleet and APIs": run["usd"]["total"],
        "USD per M good tokens": run["usd_per_mtok_good"],
    }


_POOLS = ("pool", "prefills", "decodes", "handed on", "taken on", "tokens in", "out", "USD")


def _pools(run: Run) -> list[tuple[object, ...]]:
    names = ("prefill_requests", "decode_requests", "handed_over", "taken_over", "prompt_tokens", "output_tokens")
    return [
        (pool, *(line[name] for name in names), line.get("usd", {}).get("total"))
        for pool, line in run["by_pool"].items()
    ]


_CLASSES = ("class", "requests", "completed", "kept", "TTFT p50 / p99 ms", "TPOT p50 / p99 ms")


def _classes(run: Run) -> list[tuple[object, ...]]:
    return [
        (
            *(name, line["requests"], line["completed"], _share(line["slo_attainment"])),
            *(_ms(line["ttft_s"]), _ms(line["tpot_s"])),
        )
        for name, line in run["by_class"].items()
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ms(spread: Mapping[str, float | None]) -> str:
    p50, p99 = spread["p50"], spread["p99"]
    return "-" if p50 is None or p99 is None else f"{p50 * 1000:.4g} / {p99 * 1000:.4g}"
