"""Replays a recorded run of an engine through the simulated worker: fit on its first requests, score on the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from devices import feasibility
from devices.calibration.scores import Score, score
from devices.fits.measurements import EngineRun, RequestTimes
from devices.fits.pooled import Floats
from devices.natures.fitted import FittedPredictor, find
from devices.profile import Precision
from devices.simulated.engine import Sequence as Sequence_
from devices.simulated.engine import SimulatedWorker
from devices.worker import Limits

FITTED_REQUESTS = 150
DEFAULT_MAX_SEQS = 256
"""vLLM's `max_num_seqs` where nothing is set, on GPUs of less than 70 GiB and in offline use."""
QUANTITIES = ("ttft", "tpot", "e2e")
STEPS = (0.2, 0.05, 0.2, 0.05, 0.02, 0.005)
"""Of the search, in logarithms of factors; the second round starts wide again."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What the first requests of a run may change about its predictor."""

    fixed: float = 1.0
    experts: float = 1.0
    decode: float = 1.0
    prompt: float = 1.0

    def of(self, base: FittedPredictor) -> FittedPredictor:
        return replace(
            base,
            fixed_s=base.fixed_s * self.fixed,
            experts_s=base.experts_s * self.experts,
            kv_s=base.kv_s * self.decode,
            decode_s=base.decode_s * self.decode,
            prompt_s=base.prompt_s * self.prompt,
            prompt_token_s=base.prompt_token_s * self.prompt,
            pair_s=base.pair_s * self.prompt,
        )


@dataclass(frozen=True, slots=True)
class ReplayScore:
    """Of one run's requests that were not fitted to.

    Attributes:
        each: errors request by request.
        mean, p99: signed relative error of the run's own mean and 99th percentile.
        pairs: measured and predicted seconds of each request.
    """

    run: str
    rows: int
    factors: Factors
    each: Mapping[str, Score]
    mean: Mapping[str, float]
    p99: Mapping[str, float]
    pairs: Mapping[str, Sequence[tuple[float, float]]]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        quantities: dict[str, object] = {
            name: self.each[name].plain() | {"mean_signed": self.mean[name], "p99_signed": self.p99[name]}
            for name in QUANTITIES
        }
        return {"rows": self.rows} | quantities


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Several runs, by run and together."""

    runs: list[ReplayScore]
    seed: int

    def plain(self) -> dict[str, object]:
        """For JSON, in the shape of the other validations."""
        devices = sorted({run.run.partition("/")[0] for run in self.runs})
        everything = self._line(self.runs)
        return {
            "overall": everything,
            "by_device": {name: self._line([r for r in self.runs if r.run.startswith(f"{name}/")]) for name in devices},
            "by_engine": {"vllm": everything},
            "by_kind": {"replay": everything},
            "by_run": {run.run: run.plain() for run in self.runs},
            "seed": self.seed,
        }

    def _line(self, runs: Sequence[ReplayScore]) -> dict[str, object]:
        line: dict[str, object] = {"rows": sum(run.rows for run in runs)}
        for name in QUANTITIES:
            pairs = [pair for run in runs for pair in run.pairs[name]]
            groups = [run.run for run in runs for _ in run.pairs[name]]
            line[name] = _score(pairs, groups, self.seed).plain()
        return line


def replays(
    runs: Sequence[tuple[EngineRun, Sequence[RequestTimes]]], seed: int, progress: Callable[[str], None]
) -> ReplayReport:
    """Each run by itself."""
    scores = []
    for run, requests in runs:
        progress(f"{run.run}: fitting to {FITTED_REQUESTS} requests")
        scores.append(replayed(run, requests, seed))
    return ReplayReport(scores, seed)


def replayed(run: EngineRun, requests: Sequence[RequestTimes], seed: int) -> ReplayScore:
    """Fit three factors to the first requests, score on the rest. Later arrivals are replayed too: they add load."""
    ordered = sorted(requests, key=lambda request: request.arrival_s)
    base, limits = predictor(run), worker_limits(run, ordered[:FITTED_REQUESTS])
    measured = _measured(ordered)
    seen, unseen = slice(0, FITTED_REQUESTS), slice(FITTED_REQUESTS, None)

    def loss(factors: Factors) -> float:
        return _distance(measured[:, seen], _simulated(ordered, factors.of(base), limits)[:, seen])

    factors = _searched(loss)
    predicted = _simulated(ordered, factors.of(base), limits)[:, unseen]
    actual = measured[:, unseen]
    both = dict(zip(QUANTITIES, zip(actual, predicted, strict=True), strict=True))
    pairs = {name: _pairs(a, p) for name, (a, p) in both.items()}
    return ReplayScore(
        run=run.run,
        rows=actual.shape[1],
        factors=factors,
        each={name: _score(some, [run.run] * len(some), seed) for name, some in pairs.items()},
        mean={name: float(p.mean() / a.mean() - 1) for name, (a, p) in both.items()},
        p99={name: float(np.quantile(p, 0.99) / np.quantile(a, 0.99) - 1) for name, (a, p) in both.items()},
        pairs=pairs,
    )


def predictor(run: EngineRun) -> FittedPredictor:
    """From the shipped fits: the device was measured, or the replay has nothing to start from."""
    coefficients = find(run.device.id, run.model.id, "vllm", run.model.native_precision)
    if coefficients is None:
        raise feasibility.Infeasible(f"{run.run}: {run.device.id} has no fit to start from")
    return FittedPredictor.of(
        run.device,
        run.model,
        run.chips,
        run.model.native_precision,
        Precision.FP16,
        run.max_batched_tokens,
        coefficients.factors,
    )


def worker_limits(run: EngineRun, seen: Sequence[RequestTimes]) -> Limits:
    """As recorded. More requests at once than the recorded limit prove the record wrong; then vLLM's default holds.

    A KV cache that was not recorded is taken as ample: what the catalogue leaves for it beside the weights is a guess,
    and for a model that fills its card, one that decides everything.
    """
    max_seqs = run.max_seqs if _at_once(seen) <= run.max_seqs else DEFAULT_MAX_SEQS
    found = feasibility.limits(
        run.device,
        run.model,
        run.chips,
        run.model.native_precision,
        Precision.FP16,
        max_seqs,
        run.max_batched_tokens,
    )
    if run.kv_tokens is not None:
        return replace(found, kv_tokens=run.kv_tokens)
    longest = max(request.prompt_tokens + request.output_tokens for request in seen)
    return replace(found, kv_tokens=max(found.kv_tokens, max_seqs * 2 * longest))


def _at_once(requests: Sequence[RequestTimes]) -> int:
    """Most requests between their first and their last token together."""
    changes = sorted([(r.first_s, 1) for r in requests] + [(r.last_s, -1) for r in requests])
    running, most = 0, 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def _simulated(requests: Sequence[RequestTimes], under: FittedPredictor, limits: Limits) -> Floats:
    """Seconds to the first token, between tokens and to the last, in the order of `requests`."""
    worker = SimulatedWorker(under, limits, list_decoded=False)
    sequences = [Sequence_(request.id, request.prompt_tokens, request.output_tokens) for request in requests]
    for sequence, request in zip(sequences, requests, strict=True):
        worker.submit(sequence, request.arrival_s)
    while worker.next_event_s < math.inf:
        worker.advance(worker.next_event_s)
    first = np.array([sequence.first_s for sequence in sequences])
    last = np.array([sequence.ended_s for sequence in sequences])
    return _times(requests, first, last)


def _measured(requests: Sequence[RequestTimes]) -> Floats:
    first = np.array([request.first_s for request in requests])
    last = np.array([request.last_s for request in requests])
    return _times(requests, first, last)


def _times(requests: Sequence[RequestTimes], first: Floats, last: Floats) -> Floats:
    arrival = np.array([request.arrival_s for request in requests])
    tokens = np.array([request.output_tokens for request in requests])
    return np.array([first - arrival, (last - first) / np.maximum(tokens - 1, 1), last - arrival])


def _distance(measured: Floats, predicted: Floats) -> float:
    """Squared logarithms of the ratios of means and tails, and some of each request's own."""
    total = 0.0
    for actual, guess in zip(measured, predicted, strict=True):
        total += math.log(guess.mean() / actual.mean()) ** 2
        total += math.log(np.quantile(guess, 0.99) / np.quantile(actual, 0.99)) ** 2
        ratio = np.abs(np.log(np.maximum(guess, 1e-6) / np.maximum(actual, 1e-6)))
        total += 0.3 * float(np.median(ratio)) ** 2
    return total


def _searched(loss: Callable[[Factors], float]) -> Factors:
    """All factors together first, then pattern search: each up and down, in ever smaller steps. Deterministic."""
    names = [field.name for field in fields(Factors)]
    together = [Factors(*[math.exp(log / 20)] * len(names)) for log in range(-20, 21)]
    best = min(together, key=loss)
    lowest = loss(best)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for name in names:
                for factor in (math.exp(step), math.exp(-step)):
                    tried = replace(best, **{name: getattr(best, name) * factor})
                    found = loss(tried)
                    if found < lowest:
                        best, lowest, improved = tried, found, True
    return best


def _pairs(actual: Floats, predicted: Floats) -> list[tuple[float, float]]:
    """Answers of one token have no time between tokens."""
    usable = actual > 0
    return list(zip(actual[usable].tolist(), predicted[usable].tolist(), strict=True))


def _score(pairs: Sequence[tuple[float, float]], groups: Sequence[str], seed: int) -> Score:
    found = score(pairs, groups, seed)
    if found is None:
        raise ValueError(f"a run needs more than {FITTED_REQUESTS} requests: the rest is what is scored")
    return found
