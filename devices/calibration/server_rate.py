"""The most requests a second at which an engine keeps a promise: its model in virtual time, under Poisson arrivals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from devices.economics.operating_point import Promise
from devices.natures.bounds import Bounds
from devices.natures.hbm import HbmPredictor
from devices.simulated.engine import Sequence, SimulatedWorker
from devices.worker import Limits, Predictor

PRECISION = 0.005
"""Of a search, relative: its two ends are no further apart than this."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of a benchmark's requests: lognormal by median and deviation of the logarithm, within bounds."""

    prompt_p50: float
    prompt_sigma: float
    output_p50: float
    output_sigma: float
    least_tokens: int = 1
    most_tokens: int = 32_768

    def drawn(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prompt and output tokens of so many requests."""
        draws = np.random.default_rng(seed)
        prompts = draws.lognormal(math.log(self.prompt_p50), self.prompt_sigma, count)
        outputs = draws.lognormal(math.log(self.output_p50), self.output_sigma, count)
        bounded = [np.clip(np.rint(x), self.least_tokens, self.most_tokens).astype(int) for x in (prompts, outputs)]
        return bounded[0], bounded[1]


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests that one of `workers` equal workers receives of a Poisson stream dealt out in turn.

    Every n-th arrival of a Poisson stream comes after an Erlang gap: coefficient of variation 1 / sqrt(n).
    """

    lengths: Lengths
    workers: int = 1
    duration_s: float = 600.0
    seed: int = 1

    def arrivals(self, rate_per_s: float) -> NDArray[np.float64]:
        """Seconds, ascending; the gaps of one seed scale with the rate, so that searches see one story."""
        count = max(int(self.duration_s * rate_per_s), 1)
        gaps = np.random.default_rng(self.seed).gamma(self.workers, 1 / self.workers, count)
        return np.cumsum(gaps) / rate_per_s


def slower(under: HbmPredictor, factor: float) -> HbmPredictor:
    """The same device at `factor` times the seconds of every iteration."""
    if under.tier is not None:
        raise ValueError("a device with an on-chip tier beside its HBM: what the tier saves would have to grow too")
    bounds = under.bounds
    return replace(
        under,
        fixed_s=under.fixed_s * factor,
        dense_s=under.dense_s * factor,
        experts_s=under.experts_s * factor,
        token_s=under.token_s * factor,
        kv_s=under.kv_s * factor,
        pair_s=under.pair_s * factor,
        sequence_s=under.sequence_s * factor,
        bounds=Bounds(bounds.tokens, bounds.kv_s * factor, bounds.pair_s * factor) if bounds else None,
    )


def overrun(predictor: Predictor, limits: Limits, stream: Stream, rate_per_s: float, promise: Promise) -> float:
    """The worse of p99 TTFT and p99 TPOT over its limit; above 1 the benchmark would call the run invalid."""
    worker = SimulatedWorker(predictor, limits, list_decoded=False)
    arrivals = stream.arrivals(rate_per_s)
    prompts, outputs = stream.lengths.drawn(len(arrivals), stream.seed)
    sequences = []
    for index, (at, prompt, output) in enumerate(zip(arrivals.tolist(), prompts, outputs, strict=True)):
        sequences.append(Sequence(str(index), int(prompt), int(output)))
        worker.submit(sequences[-1], at)
        worker.advance(at)
    while worker.next_event_s < math.inf:
        worker.advance(worker.next_event_s)
    ttft_s = np.array([s.first_s for s in sequences]) - arrivals
    rest_s = np.array([s.ended_s - s.first_s for s in sequences])
    tpot_s = (rest_s / np.maximum(outputs - 1, 1))[outputs > 1]
    found = [(ttft_s, promise.ttft_s), (tpot_s, promise.tpot_s)]
    return max(float(np.quantile(seconds, promise.kept)) / limit for seconds, limit in found if limit is not None)


def highest_rate(predictor: Predictor, limits: Limits, stream: Stream, promise: Promise, guess_per_s: float) -> float:
    """Requests a second; the search starts from `guess_per_s`."""
    return edge(lambda rate: overrun(predictor, limits, stream, rate, promise) <= 1, guess_per_s)


def slowest(predictor: HbmPredictor, limits: Limits, stream: Stream, promise: Promise, rate_per_s: float) -> float:
    """How many times longer every iteration may take and the rate still be the highest that keeps the promise."""

    def kept(factor: float) -> bool:
        return overrun(slower(predictor, factor), limits, stream, rate_per_s, promise) <= 1

    return edge(kept, 1.0)


def edge(kept: Callable[[float], bool], guess: float) -> float:
    """The largest value that is kept, for a condition that ends somewhere above 0."""
    low = high = guess
    while not kept(low):
        high, low = low, low / 1.5
        if low < guess / 1e6:
            raise ValueError("not even a millionth of the guess is kept")
    while low == high or (high > low and kept(high)):
        low, high = high, high * 1.5
    while high / low > 1 + PRECISION:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low
