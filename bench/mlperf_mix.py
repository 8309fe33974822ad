"""MI300X, MI325X and MI355X behind one scheduler: the highest valid MLPerf rate of the mix over the sum of its parts.

    python bench/mlperf_mix.py                        # one worker of each, three policies: five minutes
    python bench/mlperf_mix.py --workers 8 --duration 240 --policies least-load

Each device is as slow as explains its own best submission of llama2-70b in `--data` (see mlperf_server.py). The parts
are the same workers, one kind at a time, under whichever policy does best there. Promise and lengths are the
benchmark's; arrivals are Poisson. Published mixes of these devices, tuned by hand, reach 94.0 to 97.6 % of their parts.
Exit 1 when cost-slo stays below 98 %, or round-robin does not stay below 90 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from devices.calibration.measured_files import read
from devices.calibration.server_benchmark import BENCHMARKS, Result, results
from devices.calibration.server_rate import Stream, edge, slower
from devices.fits.measurements import ServerRun
from devices.worker import Billing, BillingKind, Phase, Pool, Worker
from loadgen.simulate import Simulation
from loadgen.trace import Row
from policies.api import Request, Slo
from policies.table import load
from router.fleet import Fleet
from router.ledger import Outcome
from router.scheduler import Scheduler

DATA = Path(__file__).resolve().parent.parent / "tests" / "devices" / "data" / "mlperf_server.csv"
BENCHMARK = BENCHMARKS["llama2-70b"]
DEVICES = ("mi300x", "mi325x", "mi355x")
BARS = {"cost-slo": 0.98, "round-robin": 0.90}
NEVER_S = 3600.0


def workers_of(result: Result, count: int) -> list[Worker]:
    """As many workers as fast as the submission, rented at the device's price."""
    model = result.model
    pool = Pool(
        name=result.device.id,
        model=BENCHMARK.model,
        phases=frozenset(Phase),
        engine="vllm",
        billing=Billing(BillingKind.ON_DEMAND, result.device.usd_per_chip_hour or 0.0),
        predictor=slower(model.predictor, result.factor),
        limits=model.limits,
        device=result.device,
        chips=model.chips,
    )
    return [Worker(f"{pool.name}-{index}", pool, f"http://{pool.name}-{index}") for index in range(count)]


def overrun(workers: Sequence[Worker], policy: str, rate_per_s: float, duration_s: float, seed: int) -> float:
    """The worse of p99 TTFT and p99 TPOT over its limit, of all requests."""
    promise = BENCHMARK.promise
    slo = Slo(promise.ttft_s, promise.tpot_s)
    arrivals = Stream(BENCHMARK.lengths, 1, duration_s, seed).arrivals(rate_per_s).tolist()
    prompts, outputs = BENCHMARK.lengths.drawn(len(arrivals), seed)
    rows = [
        Row(index, at, prompt, output)
        for index, (at, prompt, output) in enumerate(zip(arrivals, prompts.tolist(), outputs.tolist(), strict=True))
    ]

    def request(row: Row) -> Request:
        return Request(str(row.index), BENCHMARK.model, row.input_tokens, row.arrival_s, slo=slo)

    chosen = load(policy, {"seed": seed} if policy == "least-load" else {})
    scheduler = Scheduler(Fleet(workers, {}), chosen, queue_limit=len(rows), queue_timeout_s=NEVER_S)
    simulation = Simulation(scheduler, rows, request)
    simulation.run()
    done = [result for result in simulation.results if result.outcome is Outcome.COMPLETED]
    if len(done) < len(rows):
        raise RuntimeError(f"{len(rows) - len(done)} requests did not complete")
    first = [(result.ttft_s, result.e2e_s, result.output_tokens) for result in done if result.ttft_s is not None]
    ttft_s = [ttft for ttft, _, _ in first]
    tpot_s = [(e2e - ttft) / (tokens - 1) for ttft, e2e, tokens in first if e2e is not None and tokens > 1]
    limits = ((ttft_s, promise.ttft_s), (tpot_s, promise.tpot_s))
    return max(float(np.quantile(seconds, promise.kept)) / limit for seconds, limit in limits if limit)


def highest(workers: Sequence[Worker], policy: str, guess: float, duration_s: float, seed: int) -> float:
    """Requests a second that keep the promise."""
    return edge(lambda rate: overrun(workers, policy, rate, duration_s, seed) <= 1, guess)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when both bars are met; bars of policies that were not asked for are not judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="table of MLPerf results")
    parser.add_argument("--workers", type=int, default=1, help="workers of each device")
    parser.add_argument("--policies", nargs="+", default=["cost-slo", "least-load", "round-robin"])
    parser.add_argument("--duration", type=float, default=600.0, help="seconds of arrivals")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    asked = [
        row
        for row in read(options.data)
        if isinstance(row, ServerRun) and row.device and row.device.id in DEVICES and "llama2" in row.benchmark
    ]
    found = {result.device.id: result for result in results(asked, options.seed, options.duration)}
    fleets = {name: workers_of(result, options.workers) for name, result in found.items()}
    guesses = {name: result.requests_per_chip_s * options.workers for name, result in found.items()}

    def reached(workers: Sequence[Worker], guess: float) -> dict[str, float]:
        return {name: highest(workers, name, guess, options.duration, options.seed) for name in options.policies}

    parts = {name: max(reached(fleets[name], guesses[name]).values()) for name in DEVICES}
    whole = sum(parts.values())
    mixed = reached([worker for name in DEVICES for worker in fleets[name]], whole)
    print(f"parts: {', '.join(f'{name} {rate:.1f}' for name, rate in parts.items())}; sum {whole:.1f} requests/s")
    print("| policy | requests/s | of the sum |", "| --- | --- | --- |", sep="\n")
    for name, rate in mixed.items():
        print(f"| {name} | {rate:.1f} | {rate / whole:.1%} |")
    return _judged({name: rate / whole for name, rate in mixed.items()})


def _judged(shares: Mapping[str, float]) -> int:
    below = shares.get("round-robin", 0.0) < BARS["round-robin"]
    return 0 if below and shares.get("cost-slo", 1.0) >= BARS["cost-slo"] else 1


if __name__ == "__main__":
    sys.exit(main())
