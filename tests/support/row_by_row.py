"""The report of a run computed row by row in plain Python: the oracle of the one that works on columns."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from devices.worker import Pool
from loadgen.flows import pool_name
from loadgen.report import Run
from loadgen.result import Result

Json = dict[str, object]
COLUMNS = ("completed", "rejected", "failed", "cancelled")


def row_by_row_report(run: Run) -> Json:
    """As `loadgen.report.report`, without `itl_s`."""
    results = run.results
    good_tokens = sum(result.output_tokens for result in results if result.attained)
    usd = _usd(run)
    made: Json = {
        "policy": run.policy,
        **_counts(results),
        "duration_s": _round(run.duration_s),
        "offered_rps": _rate(len(results), run.offered_s or run.duration_s),
        "goodput_rps": _rate(sum(result.attained for result in results), run.duration_s),
        "slo_attainment": _attainment(results),
        **_times(results),
        **_tokens(results),
        "joules": _round(sum(_watts(worker.pool) for worker in run.workers) * run.duration_s),
        "usd": usd,
        "usd_per_mtok_good": _round(usd["total"] / good_tokens * 1e6) if good_tokens else None,
        "by_class": {name: _class(group, run.duration_s) for name, group in _grouped(results, _class_name)},
        "by_pool": _by_pool(run),
        "vendor_share": _vendor_share(run),
        "bound": run.bound,
    }
    if run.cpu_s is not None:
        per_s = _round(len(results) / run.cpu_s) if run.cpu_s > 0 else None
        made["timing"] = {"cpu_s": _round(run.cpu_s), "requests_per_cpu_s": per_s}
    return made


def _counts(results: Sequence[Result]) -> Json:
    counted = Counter(result.outcome.column for result in results)
    return {"requests": len(results), **{column: counted[column] for column in COLUMNS}}


def _attainment(results: Iterable[Result]) -> float | None:
    counting = [result.attained for result in results if result.counts]
    return _round(sum(counting) / len(counting)) if counting else None


def _times(results: Sequence[Result]) -> Json:
    """TTFT of every request that got a token, TPOT and E2E of those that completed."""
    return {
        "ttft_s": spread([result.ttft_s for result in results if result.ttft_s is not None]),
        "tpot_s": spread([result.tpot_s for result in results if result.tpot_s is not None]),
        "e2e_s": spread([result.e2e_s for result in results if result.completed and result.e2e_s is not None]),
    }


def _tokens(results: Iterable[Result]) -> dict[str, int]:
    """Of requests that reached a worker; what a failed one got is counted, rejected prompts are not."""
    served = [result for result in results if result.outcome.column != "rejected"]
    return {
        "prompt_tokens": sum(result.prompt_tokens for result in served),
        "output_tokens": sum(result.output_tokens for result in served),
        "prefix_hit_tokens": sum(result.prefix_hit_tokens for result in served),
    }


def _usd(run: Run) -> dict[str, float]:
    rent = sum(worker.pool.usd_per_s for worker in run.workers) * run.duration_s
    api = sum(_charges(run).values())
    return {"rent": _round(rent), "api": _round(api), "total": _round(rent + api)}


def _charges(run: Run) -> dict[str, float]:
    """What each metered pool charges, by its list price; a failed answer is charged as far as it came."""
    pools = {worker.name: worker.pool for worker in run.workers}
    usd: defaultdict[str, float] = defaultdict(float)
    for result in run.results:
        pool = pools.get(result.decode)
        if pool is not None and pool.billing.price is not None and result.outcome.column != "rejected":
            charge = pool.billing.price.usd(result.prompt_tokens, result.output_tokens, result.prefix_hit_tokens)
            usd[pool.name] += charge
    return usd


def _watts(pool: Pool) -> float:
    """Board power of all its chips, busy or not: an upper limit, for boards seldom draw it; 0 for a metered API."""
    return pool.device.power_w * pool.chips if pool.device else 0.0


def _class_name(result: Result) -> str:
    return result.traffic_class or "default"


def _grouped(results: Iterable[Result], key: Callable[[Result], str]) -> list[tuple[str, list[Result]]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return sorted(groups.items())


def _class(results: Sequence[Result], duration_s: float) -> Json:
    return {
        **_counts(results),
        "goodput_rps": _rate(sum(result.attained for result in results), duration_s),
        "slo_attainment": _attainment(results),
        **_times(results),
        **_tokens(results),
        "good_tokens": sum(result.output_tokens for result in results if result.attained),
    }


def _by_pool(run: Run) -> dict[str, Json]:
    """Requests and tokens of each phase. `handed_over` left the pool after prefill, `taken_over` came in for decode."""
    pools = {worker.name: worker.pool.name for worker in run.workers}
    lines: dict[str, Counter[str]] = {name: Counter() for name in pools.values()}
    for result in run.results:
        if result.outcome.column == "rejected":
            continue
        prefill, decode = (pool_name(name, pools) for name in (result.prefill, result.decode))
        into = lines.setdefault(prefill, Counter())
        into.update(prefill_requests=1, prompt_tokens=result.prompt_tokens, handed_over=int(result.split))
        out = lines.setdefault(decode, Counter())
        out.update(decode_requests=1, output_tokens=result.output_tokens, taken_over=int(result.split))
    charges = _charges(run)
    return {name: _pool(name, lines[name], charges.get(name, 0.0), run) for name in sorted(lines)}


def _pool(name: str, line: Counter[str], api_usd: float, run: Run) -> Json:
    workers = [worker for worker in run.workers if worker.pool.name == name]
    made: Json = {
        key: line[key]
        for key in (
            "prefill_requests",
            "decode_requests",
            "handed_over",
            "taken_over",
            "prompt_tokens",
            "output_tokens",
        )
    }
    if workers:
        rent = sum(worker.pool.usd_per_s for worker in workers) * run.duration_s
        made |= {"workers": len(workers), "vendor": workers[0].pool.vendor}
        made |= {"usd": {"rent": _round(rent), "api": _round(api_usd), "total": _round(rent + api_usd)}}
        made |= {"joules": _round(sum(_watts(worker.pool) for worker in workers) * run.duration_s)}
    return made


def _vendor_share(run: Run) -> dict[str, float]:
    """Of all tokens, prompts at their prefill worker and answers at their decode worker; empty without a fleet."""
    vendors = {worker.name: worker.pool.vendor for worker in run.workers}
    tokens: Counter[str] = Counter(dict.fromkeys(vendors.values(), 0))
    for result in run.results:
        if result.prefill in vendors and result.decode in vendors:
            tokens[vendors[result.prefill]] += result.prompt_tokens
            tokens[vendors[result.decode]] += result.output_tokens
    total = tokens.total()
    return {name: _round(count / total) if total else 0.0 for name, count in sorted(tokens.items())}


def _rate(count: int, seconds: float) -> float:
    return _round(count / seconds) if seconds > 0 else 0.0


def _round(value: float) -> float:
    """Nine digits after the point: below any figure that matters, above the noise of summing in another order."""
    return round(float(value), 9)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    if not values:
        return dict.fromkeys(("mean", *shares))
    ordered = sorted(values)
    at = {
        name: next(i for i in range(len(ordered)) if i + 1 >= share * len(ordered) - 1e-9)
        for name, share in shares.items()
    }
    return {"mean": _round(math.fsum(ordered) / len(ordered)), **{name: _round(ordered[i]) for name, i in at.items()}}
