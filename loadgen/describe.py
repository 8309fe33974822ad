"""What a workload is like: rate, burstiness, lengths, and how much of its prompts came before."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from loadgen.finding import Finding
from loadgen.prefix_reuse import PrefixCache
from loadgen.trace import Row, chained, has_arrivals, lengths, rows

QUANTILES = (0.5, 0.9, 0.99)
CACHE_TOKENS = (1 << 18, 1 << 20, 1 << 22, 1 << 24)
"""Sizes of caches looked at: from one device's to that of a large fleet or a pool in host memory."""


def describe(path: Path) -> dict[str, object]:
    """The figures of `tokenyard trace describe FILE`; those that need arrivals or hash ids are None without."""
    timed = has_arrivals(path)
    return {"file": str(path)} | described(chained(rows(path) if timed else lengths(path)), timed)


def described(source: Iterable[Row], timed: bool = True) -> dict[str, object]:
    """The figures of rows with chained ids."""
    seen = _Seen()
    seen.read(source)
    if not seen.input_tokens:
        raise Finding("nothing to describe: no request comes between --start and the end of --duration")
    times = np.frombuffer(seen.arrival_s) if timed else np.empty(0)
    gaps = np.diff(times)
    span_s = float(gaps.sum())
    return {
        "requests": len(seen.input_tokens),
        "duration_s": round(span_s, 4) if timed else None,
        "rate_per_s": round(len(gaps) / span_s, 4) if span_s > 0 else None,
        "interarrival_cv": round(float(gaps.std() / gaps.mean()), 4) if span_s > 0 else None,
        "peak_to_mean_1s": _peak_to_mean(times) if span_s > 0 else None,
        "input_tokens": _spread(seen.input_tokens),
        "output_tokens": _spread(seen.output_tokens),
        "prefix_reuse": seen.reuse(seen.endless),
        "prefix_reuse_by_cache_tokens": seen.by_size(),
        "clients": len(seen.clients) or None,
    }


class _Seen:
    def __init__(self) -> None:
        self.arrival_s: array[float] = array("d")
        self.input_tokens: array[int] = array("q")
        self.output_tokens: array[int] = array("q")
        self.clients: set[str] = set()
        self.blocks = 0
        self.endless = PrefixCache()
        self._caches = {tokens: PrefixCache(tokens) for tokens in CACHE_TOKENS}

    def read(self, source: Iterable[Row]) -> None:
        for row in source:
            self.arrival_s.append(row.arrival_s)
            self.input_tokens.append(row.input_tokens)
            self.output_tokens.append(row.output_tokens)
            if row.client:
                self.clients.add(row.client)
            if row.hash_ids:
                self.blocks += len(row.hash_ids)
                self.endless.prompt(row.hash_ids)
                for cache in self._caches.values():
                    cache.prompt(row.hash_ids)

    def reuse(self, cache: PrefixCache) -> float | None:
        """Share of all blocks."""
        return round(cache.hit_blocks / self.blocks, 4) if self.blocks else None

    def by_size(self) -> dict[str, float | None] | None:
        """The same for caches of some sizes."""
        return {str(tokens): self.reuse(cache) for tokens, cache in self._caches.items()} if self.blocks else None


def _peak_to_mean(times: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Requests of the fullest second over those of the mean second; seconds count from the first request."""
    seconds = np.bincount((times - times[0]).astype(np.int64))
    return round(float(seconds.max() / seconds.mean()), 4)


def _spread(values: array[int]) -> dict[str, float]:
    numbers = np.frombuffer(values, dtype=np.int64)
    spread = {"mean": round(float(numbers.mean()), 2)}
    for share in QUANTILES:
        spread[f"p{share * 100:g}"] = float(np.quantile(numbers, share))
    return spread | {"max": float(numbers.max())}
