"""cost-slo against the baselines on one mixed fleet: the same scheduler, the same requests, only the policy differs.

    python bench/policy_bars.py --seed 1           # seeds 1, 2, 3 at 1, 4, 8 and 12 times the trace's rate: a minute
    python bench/policy_bars.py --rate-scale 16    # beyond the fleet's capacity

Prints a Markdown table, ranges over the seeds, and one line per bar; exit 1 when a bar is missed. The seed draws
classes and ties; the trace is the shipped ten minutes of the Azure 2023 conversation trace.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadgen.report import report
from loadgen.runs import simulated
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from router.config import load
from router.layout import layout

ROOT = Path(__file__).resolve().parent.parent
FLEET = ROOT / "deploy" / "examples" / "hetero.yaml"
TRACE = ROOT / "loadgen" / "data" / "azure2023_conv_10min.csv.gz"
TRACE_S = 600.0
POLICIES = ("cost-slo", "least-load", "power-of-two", "round-robin", "random")
BEATEN = ("round-robin", "least-load")

Found = Mapping[tuple[float, str, int], Mapping[str, Any]]
"""Report by (rate scale, policy, seed)."""


def measured(scales: Sequence[float], seeds: Sequence[int]) -> Found:
    """Every policy at every rate under every seed."""
    config = load(FLEET)
    laid_out = layout(config)
    found = {}
    for scale in scales:
        for seed in seeds:
            traffic = Traffic.of(config, seed=seed)
            workload = Workload(TRACE, rate_scale=scale, duration_s=TRACE_S / scale, seed=seed)
            for policy in POLICIES:
                found[scale, policy, seed] = report(simulated(config, laid_out, policy, workload, traffic))
    return found


def markdown(found: Found, scales: Sequence[float], seeds: Sequence[int]) -> str:
    """One row per rate and policy; a range where the seeds differ."""
    head = ("req/s", "policy", "attained", "USD per M good tokens", "TTFT p50 / p99 ms", "TPOT p50 / p99 ms", "split")
    rows = [_row(policy, [found[scale, policy, seed] for seed in seeds]) for scale in scales for policy in POLICIES]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows])


def _row(policy: str, runs: Sequence[Mapping[str, Any]]) -> str:
    cells = (
        f"{runs[0]['offered_rps']:.0f}",
        policy,
        _range([run["slo_attainment"] * 100 for run in runs], "{:.1f}") + " %",
        _range([run["usd_per_mtok_good"] for run in runs], "{:.2f}"),
        " / ".join(_range([run["ttft_s"][at] * 1e3 for run in runs], "{:.0f}") for at in ("p50", "p99")),
        " / ".join(_range([run["tpot_s"][at] * 1e3 for run in runs], "{:.0f}") for at in ("p50", "p99")),
        _range([100 * _split(run) for run in runs], "{:.0f}") + " %",
    )
    return f"| {' | '.join(cells)} |"


def _split(run: Mapping[str, Any]) -> float:
    """Share of requests that were handed over."""
    return float(sum(pool["handed_over"] for pool in run["by_pool"].values()) / run["requests"])


def _range(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def bars(found: Found, scales: Sequence[float], seeds: Sequence[int]) -> list[tuple[bool, str]]:
    """cost-slo must attain more and pay less per good token than each rival, at every rate, on every seed."""
    lines = []
    for scale in scales:
        for rival in BEATEN:
            for seed in seeds:
                ours, theirs = found[scale, "cost-slo", seed], found[scale, rival, seed]
                for figure, better in (("slo_attainment", 1), ("usd_per_mtok_good", -1)):
                    met = (ours[figure] - theirs[figure]) * better > 0
                    case = f"x{scale:g}, seed {seed}: {figure}"
                    lines.append((met, f"{case} of cost-slo {ours[figure]:.4f}, of {rival} {theirs[figure]:.4f}"))
    return lines


def main() -> int:
    """0 when every bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="first of three seeds")
    parser.add_argument(
        "--rate-scale", type=float, nargs="+", default=[1.0, 4.0, 8.0, 12.0], help="times 4.8 requests/s"
    )
    options = parser.parse_args()
    seeds, scales = range(options.seed, options.seed + 3), options.rate_scale
    found = measured(scales, seeds)
    print(markdown(found, scales, seeds))
    judged = bars(found, scales, seeds)
    print(*(f"{'met' if met else 'MISSED'}: {line}" for met, line in judged), sep="\n")
    return 0 if all(met for met, _ in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
