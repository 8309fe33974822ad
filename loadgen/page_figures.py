"""What the plots of one run are drawn from: a few thousand numbers, however many requests there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.columns import Columns, by_class
from loadgen.flows import Flows
from loadgen.report import Run
from loadgen.results import Results
from loadgen.spread import Floats
from policies.api import Slo

CURVE_POINTS = 256
BINS = 200


@dataclass(frozen=True, slots=True)
class Curve:
    """A cumulative distribution.

    Attributes:
        seconds: ascending; number k of them is not exceeded by `share` x k / (count - 1) of the requests.
        share: of the requests that count, those that have such a time at all: a rejected one has none.
        promises_s: limits set for it, ascending; empty where nothing was promised.
    """

    seconds: tuple[float, ...]
    share: float
    promises_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Plots of one run.

    Attributes:
        curves: by class, then by `ttft_s`, `tpot_s`, `e2e_s`.
        pools: names; rows of what follows.
        bin_s: width of one of the equal steps into which the run is cut.
        prompt_tokens_per_s: of each prefill pool, counted when the first token came.
        output_tokens_per_s: of each decode pool, an answer spread evenly from its first token to its end.
        requests: from each prefill pool to each decode pool.
    """

    curves: dict[str, dict[str, Curve]]
    pools: tuple[str, ...]
    bin_s: float
    prompt_tokens_per_s: Floats
    output_tokens_per_s: Floats
    requests: tuple[tuple[int, ...], ...]


def figures(run: Run) -> Figures:
    """Of a run with at least one result."""
    results = Results.of(run.results)
    columns = Columns.of(results)
    flows = Flows.of(run.workers, results, columns)
    edges_s = np.linspace(0.0, max(run.duration_s, 1e-9), BINS + 1)
    bin_s = float(edges_s[1])
    served = flows.served
    first_s, end_s = served.arrival_s + served.ttft_s, served.arrival_s + served.e2e_s
    timed = ~(np.isnan(first_s) | np.isnan(end_s))
    prompts, answers = [], []
    for number in range(len(flows.pools)):
        here = timed & (flows.prefill == number)
        prompts.append(np.histogram(first_s[here], edges_s, weights=served.prompt_tokens[here])[0] / bin_s)
        here = timed & (flows.decode == number)
        poured_ = poured(first_s[here], end_s[here], served.output_tokens[here].astype(np.float64), edges_s)
        answers.append(poured_ / bin_s)
    return Figures(
        {name: _curves(group, results.slos) for name, group in by_class(results, columns)},
        tuple(flows.pools),
        bin_s,
        np.array(prompts).reshape(-1, BINS),
        np.array(answers).reshape(-1, BINS),
        tuple(tuple(row) for row in flows.matrix.tolist()),
    )


def poured(start_s: Floats, end_s: Floats, amount: Floats, edges_s: Floats) -> Floats:
    """How much falls between edges when each amount flows evenly from its start to its end, at once if they meet."""
    step = end_s - start_s <= 1e-9
    rate = amount[~step] / (end_s - start_s)[~step]
    flowed = _ramps(start_s[~step], rate, edges_s) - _ramps(end_s[~step], rate, edges_s)
    at_once = np.histogram(start_s[step], edges_s, weights=amount[step])[0]
    return np.asarray(np.maximum(np.diff(flowed), 0.0) + at_once)


def _ramps(start_s: Floats, rate: Floats, at_s: Floats) -> Floats:
    """Sum over ramps that rise by `rate` per second from their start."""
    order = np.argsort(start_s)
    begun = np.searchsorted(start_s[order], at_s, side="right")
    rates = np.concatenate(([0.0], np.cumsum(rate[order])))[begun]
    offsets = np.concatenate(([0.0], np.cumsum(rate[order] * start_s[order])))[begun]
    return np.asarray(rates * at_s - offsets)


def _curves(columns: Columns, slos: Sequence[Slo]) -> dict[str, Curve]:
    counting = columns.where(columns.counts)
    promised = [slos[code] for code in np.unique(columns.slo)]
    count = len(counting)
    e2e_s = counting.e2e_s[counting.completed]
    with_tpot = int((~np.isnan(counting.tpot_s)).sum())
    return {
        "ttft_s": _curve(counting.ttft_s, count, [slo.ttft_s for slo in promised]),
        "tpot_s": _curve(counting.tpot_s, with_tpot, [slo.tpot_s for slo in promised]),
        "e2e_s": _curve(e2e_s, count, [slo.e2e_s for slo in promised]),
    }


def _curve(times_s: Floats, count: int, promises_s: Sequence[float | None]) -> Curve:
    known = np.sort(times_s[~np.isnan(times_s)])
    at = np.linspace(0, len(known) - 1, min(CURVE_POINTS, len(known))).round().astype(int)
    limits = sorted({limit for limit in promises_s if limit is not None})
    return Curve(tuple(known[at].tolist()), len(known) / count if count else 0.0, tuple(limits))
