"""The report of `simulate`, `loadtest` and `demo`: one object per run, the same keys wherever it comes from.

Whole-fleet rent times duration is the cost of a run, plus what metered APIs charged. Busy seconds are never called
cost: chips are paid while they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.prices.api_price import ApiPrice
from devices.worker import Pool, Worker
from loadgen.columns import COLUMNS, Columns, by_class
from loadgen.flows import Flows
from loadgen.gaps import Gaps
from loadgen.result import Result
from loadgen.results import Results
from loadgen.spread import Floats, spread
from loadgen.tariffs import Tariffs

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Run:
    """One policy (or one endpoint) under one workload.

    Attributes:
        offered_s: seconds over which requests arrived.
        duration_s: seconds from the first arrival's clock zero to the last end; the time the fleet is rented.
        workers: the fleet; empty when it is not known, and then neither cost nor energy is.
        cpu_s: CPU seconds the run took; None leaves `timing` out of the report.
        tariffs: how prices changed under way.
        bound: figures of an upper bound on any policy, where one was computed; none is computed yet.
    """

    policy: str
    results: Sequence[Result]
    gaps: Gaps
    offered_s: float
    duration_s: float
    workers: Sequence[Worker] = ()
    cpu_s: float | None = None
    tariffs: Tariffs = field(default_factory=Tariffs)
    bound: Json = field(default_factory=dict)


def report(run: Run) -> Json:
    """The JSON object of one run. Same results, same bytes: nothing in it depends on the clock but `timing`."""
    results = Results.of(run.results)
    columns = Columns.of(results)
    charges = _charges(run, results, columns)
    rent = _rent(run, run.workers)
    usd = _usd(rent, sum(charges.values()))
    good_tokens = _sum(columns.output_tokens[columns.attained])
    made: Json = {
        "policy": run.policy,
        **_counts(columns),
        "duration_s": _round(run.duration_s),
        "offered_rps": _rate(len(columns), run.offered_s or run.duration_s),
        "goodput_rps": _rate(_sum(columns.attained), run.duration_s),
        "slo_attainment": _attainment(columns),
        **_times(columns, run.gaps),
        **_tokens(columns),
        "joules": _round(sum(_watts(worker.pool) for worker in run.workers) * run.duration_s),
        "usd": usd,
        "usd_per_mtok_good": _round(usd["total"] / good_tokens * 1e6) if good_tokens else None,
        "by_class": {name: _class(group, run.duration_s) for name, group in by_class(results, columns)},
        "by_pool": {
            name: {**line, **_owned(name, run, charges.get(name, 0.0))}
            for name, line in Flows.of(run.workers, results, columns).per_pool().items()
        },
        "vendor_share": _vendor_share(run, results, columns),
        "bound": run.bound,
    }
    if run.cpu_s is not None:
        per_s = _round(len(columns) / run.cpu_s) if run.cpu_s > 0 else None
        made["timing"] = {"cpu_s": _round(run.cpu_s), "requests_per_cpu_s": per_s}
    return made


def _counts(columns: Columns) -> Json:
    counted = np.bincount(columns.column, minlength=len(COLUMNS))
    return {"requests": len(columns), **{name: int(counted[code]) for code, name in enumerate(COLUMNS)}}


def _attainment(columns: Columns) -> float | None:
    counting = _sum(columns.counts)
    return _round(_sum(columns.attained & columns.counts) / counting) if counting else None


def _times(columns: Columns, gaps: Gaps | None = None) -> Json:
    """TTFT of every request that got a token, TPOT and E2E of those that completed, ITL where gaps are known."""
    return {
        "ttft_s": spread(_known(columns.ttft_s)),
        "tpot_s": spread(_known(columns.tpot_s)),
        **({} if gaps is None else {"itl_s": gaps.spread()}),
        "e2e_s": spread(_known(columns.e2e_s[columns.completed])),
    }


def _tokens(columns: Columns) -> dict[str, int]:
    """Of requests that reached a worker; what a failed one got is counted, rejected prompts are not."""
    served = ~columns.rejected
    return {
        "prompt_tokens": _sum(columns.prompt_tokens[served]),
        "output_tokens": _sum(columns.output_tokens[served]),
        "prefix_hit_tokens": _sum(columns.prefix_hit_tokens[served]),
    }


def _usd(rent: float, api: float) -> dict[str, float]:
    return {"rent": _round(rent), "api": _round(api), "total": _round(rent + api)}


def _rent(run: Run, workers: Sequence[Worker]) -> float:
    if run.tariffs.changes:
        return sum(run.tariffs.rent_usd(worker.pool, run.duration_s) for worker in workers)
    return sum(worker.pool.usd_per_s for worker in workers) * run.duration_s


def _charges(run: Run, results: Results, columns: Columns) -> dict[str, float]:
    """What each metered pool charges, by its list price when a request arrived; a failed answer as far as it came."""
    numbers = {name: number for number, name in enumerate(results.workers)}
    usd: dict[str, float] = {}
    for worker in run.workers:
        if not worker.pool.metered or worker.name not in numbers:
            continue
        served = (columns.decode == numbers[worker.name]) & ~columns.rejected
        for begin_s, end_s, price in run.tariffs.api_prices(worker.pool):
            here = columns.where(served & (begin_s <= columns.arrival_s) & (columns.arrival_s < end_s))
            usd[worker.pool.name] = usd.get(worker.pool.name, 0.0) + _charge(price, here)
    return usd


def _charge(price: ApiPrice, columns: Columns) -> float:
    """A price is linear in tokens between its steps of prompt length, so sums of tokens will do."""
    above = [0, *(tokens for tokens, _ in price.steps)]
    step = np.searchsorted(above[1:], columns.prompt_tokens, side="left")
    usd = 0.0
    for number in np.unique(step):
        here = columns.where(step == number)
        sums = (_sum(here.prompt_tokens), _sum(here.output_tokens), _sum(here.prefix_hit_tokens))
        usd += price.rates(above[number] + 1).charge_usd(*sums)
    return usd


def _watts(pool: Pool) -> float:
    """Board power of all its chips, busy or not: an upper limit, for boards seldom draw it; 0 for a metered API."""
    return pool.device.power_w * pool.chips if pool.device else 0.0


def _class(columns: Columns, duration_s: float) -> Json:
    return {
        **_counts(columns),
        "goodput_rps": _rate(_sum(columns.attained), duration_s),
        "slo_attainment": _attainment(columns),
        **_times(columns),
        **_tokens(columns),
        "good_tokens": _sum(columns.output_tokens[columns.attained]),
    }


def _owned(name: str, run: Run, api_usd: float) -> Json:
    """What is known of a pool of the fleet; nothing of one that is not."""
    workers = [worker for worker in run.workers if worker.pool.name == name]
    if not workers:
        return {}
    return {
        "workers": len(workers),
        "vendor": workers[0].pool.vendor,
        "usd": _usd(_rent(run, workers), api_usd),
        "joules": _round(sum(_watts(worker.pool) for worker in workers) * run.duration_s),
    }


def _vendor_share(run: Run, results: Results, columns: Columns) -> dict[str, float]:
    """Of all tokens, prompts at their prefill worker and answers at their decode worker; empty without a fleet."""
    of_worker = {worker.name: worker.pool.vendor for worker in run.workers}
    vendors = sorted(set(of_worker.values()))
    codes = np.array([vendors.index(of_worker[name]) if name in of_worker else -1 for name in results.workers], int)
    prefill, decode = codes[columns.prefill], codes[columns.decode]
    known = (prefill >= 0) & (decode >= 0)
    tokens = np.bincount(prefill[known], columns.prompt_tokens[known], minlength=len(vendors))
    tokens += np.bincount(decode[known], columns.output_tokens[known], minlength=len(vendors))
    total = float(np.sum(tokens))
    return {name: _round(count / total) if total else 0.0 for name, count in zip(vendors, tokens, strict=True)}


def _known(times_s: Floats) -> Floats:
    return times_s[~np.isnan(times_s)]


def _sum(values: NDArray[Any]) -> int:
    return int(values.sum())


def _rate(count: int, seconds: float) -> float:
    return _round(count / seconds) if seconds > 0 else 0.0


def _round(value: float) -> float:
    """Nine digits after the point: below any figure that matters, above the noise of summing in another order."""
    return round(float(value), 9)
