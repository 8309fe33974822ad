"""What a trace is like: rate, burstiness, lengths, and how much of its prompts came before."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadgen.trace import Row, has_arrivals, lengths, rows

QUANTILES = (0.5, 0.9, 0.99)


def describe(path: Path) -> dict[str, object]:
    """The figures of `tokenyard trace describe`; those that need arrivals or hash ids are None without."""
    timed = has_arrivals(path)
    seen = _Seen()
    seen.read(rows(path) if timed else lengths(path))
    gaps = np.diff(np.frombuffer(seen.arrival_s)) if timed else np.empty(0)
    span_s = float(gaps.sum())
    return {
        "file": str(path),
        "requests": len(seen.input_tokens),
        "duration_s": round(span_s, 4) if timed else None,
        "rate_per_s": round(len(gaps) / span_s, 4) if span_s > 0 else None,
        "interarrival_cv": round(float(gaps.std() / gaps.mean()), 4) if span_s > 0 else None,
        "input_tokens": _spread(seen.input_tokens),
        "output_tokens": _spread(seen.output_tokens),
        "prefix_reuse": round(seen.reused_blocks / seen.blocks, 4) if seen.blocks else None,
        "clients": len(seen.clients) or None,
    }


@dataclass(slots=True)
class _Seen:
    arrival_s: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    clients: set[str] = field(default_factory=set)
    blocks: int = 0
    reused_blocks: int = 0
    _known: set[int] = field(default_factory=set)

    def read(self, source: Iterable[Row]) -> None:
        for row in source:
            self.arrival_s.append(row.arrival_s)
            self.input_tokens.append(row.input_tokens)
            self.output_tokens.append(row.output_tokens)
            if row.client:
                self.clients.add(row.client)
            self._count_reuse(row)

    def _count_reuse(self, row: Row) -> None:
        """Leading blocks already seen, as an endless cache that starts cold would find them."""
        self.blocks += len(row.hash_ids)
        for block_id in row.hash_ids:
            if block_id not in self._known:
                break
            self.reused_blocks += 1
        self._known.update(row.hash_ids)


def _spread(values: array[int]) -> dict[str, float]:
    numbers = np.frombuffer(values, dtype=np.int64)
    spread = {"mean": round(float(numbers.mean()), 2)}
    for share in QUANTILES:
        spread[f"p{share * 100:g}"] = float(np.quantile(numbers, share))
    return spread | {"max": float(numbers.max())}
