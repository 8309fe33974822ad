"""What simulating a fleet costs, in CPU seconds and memory, with the production scheduler in the loop.

    python bench/simulator.py                                            # the bars, medians of five runs
    python bench/simulator.py --mooncake mooncake_trace.jsonl            # and prefix-aware routing on that trace
    python bench/simulator.py --dynamo-python rival/bin/python           # and Dynamo's replay of the same, in turns

Each run is a process of its own, so that its memory is its own too. Only the simulation is timed: arrivals are made and
results kept, the report is not written. Workers are H100 serving Llama 3.1 8B, requests arrive as a Poisson process of
23.4 a second for each worker, about a third of what it can take, so that no run measures an endless queue.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from replay_rivals import dynamo_replay

from devices import catalog
from devices.feasibility import limits
from devices.natures import choice
from devices.profile import Precision
from devices.worker import Billing, BillingKind, Phase, Pool, Worker
from loadgen.arrivals import arrivals
from loadgen.row import Row
from loadgen.simulate import Simulation
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from policies.api import Slo
from policies.table import load
from router.fleet import Fleet
from router.openai import TrafficClass
from router.scheduler import Scheduler

Json = dict[str, Any]

RATE_PER_WORKER = 23.4375
"""1,500 requests a second on 64 workers."""
INPUT_TOKENS, OUTPUT_TOKENS = 512, 256
PROMISE = TrafficClass("default", Slo(ttft_s=1.0, tpot_s=0.05))
BARS_PER_S = {"round-robin": 50_000.0, "cost-slo": 10_000.0}
MOONCAKE_CPU_S = 0.4
MILLION_GB = 1.0
MORE_REQUESTS, MORE_WORKERS = 11.0, 1.5
INSIDE = "--inside"


def workers(count: int) -> list[Worker]:
    """So many workers of one H100 each."""
    device, model, precision = catalog.device("h100-sxm"), catalog.model("llama-3.1-8b"), Precision.BF16
    pool = Pool(
        name="h100",
        model="m",
        phases=frozenset(Phase),
        engine="vllm",
        billing=Billing(BillingKind.ON_DEMAND, device.usd_per_chip_hour or 2.0),
        predictor=choice.predictor(device, model, 1, precision, precision),
        limits=limits(device, model, 1, precision, precision),
        device=device,
        shape=model,
        precision=precision,
        kv_precision=precision,
    )
    return [Worker(f"h100-{number}", pool, "") for number in range(count)]


def made(requests: int, rate_per_s: float) -> Iterator[Row]:
    """Requests of one length."""
    for index, arrival_s in enumerate(arrivals("poisson")(rate_per_s, 1)):
        if index == requests:
            return
        yield Row(index, arrival_s, INPUT_TOKENS, OUTPUT_TOKENS)


def simulated(shape: Mapping[str, Any]) -> Json:
    """One run in this process: what it took, and enough of what it found to see that it did the work."""
    rows = (
        Workload(trace=Path(shape["trace"])).rows()
        if shape.get("trace")
        else made(shape["requests"], shape["workers"] * RATE_PER_WORKER)
    )
    traffic = Traffic("m", {"default": PROMISE})
    scheduler = Scheduler(Fleet(workers(shape["workers"]), {}), load(shape["policy"]), queue_limit=10**9)
    simulation = Simulation(scheduler, rows, traffic.request)
    gc.collect()
    gc.freeze()
    began_s = time.process_time()
    simulation.run()
    cpu_s = time.process_time() - began_s
    results = simulation.results
    return {
        "cpu_s": cpu_s,
        "requests": len(results),
        "output_tokens": int(results.column("output_tokens").sum()),
        "prefix_hit_tokens": int(results.column("prefix_hit_tokens").sum()),
        "prompt_tokens": int(results.column("prompt_tokens").sum()),
        "simulated_s": simulation.end_s,
        "peak_mbytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(shape: Json, runs: int) -> Json:
    """Medians over runs in processes of their own."""
    found = [_one(shape) for _ in range(runs)]
    cpu_s = statistics.median(run["cpu_s"] for run in found)
    last = found[-1]
    return last | {
        "cpu_s": cpu_s,
        "requests_per_cpu_s": last["requests"] / cpu_s,
        "tokens_per_cpu_s": last["output_tokens"] / cpu_s,
        "peak_mbytes": max(run["peak_mbytes"] for run in found),
    }


def _one(shape: Json) -> Json:
    ran = subprocess.run(
        [sys.executable, __file__, INSIDE, json.dumps(shape)], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"a run of {shape} failed:\n{ran.stderr}")
    answer: Json = json.loads(ran.stdout.splitlines()[-1])
    return answer


def told(name: str, run: Json) -> None:
    """One line of the table."""
    print(
        f"| {name} | {run['cpu_s']:.2f} | {run['requests_per_cpu_s']:,.0f} | {run['tokens_per_cpu_s'] / 1e6:.2f} "
        f"| {run['peak_mbytes']:,.0f} |",
        flush=True,
    )


class Bars:
    """What was asked for, and whether it is so."""

    def __init__(self) -> None:
        self.missed = 0

    def at_least(self, what: str, value: float, bar: float) -> None:
        self._say(what, value >= bar, f"{value:,.0f}, at least {bar:,.0f}")

    def at_most(self, what: str, value: float, bar: float) -> None:
        self._say(what, value <= bar, f"{value:.2f}, at most {bar:g}")

    def _say(self, what: str, met: bool, figures: str) -> None:
        self.missed += not met
        print(f"{'met' if met else 'MISSED'}: {what}: {figures}")


def main() -> None:
    """Run the shapes, print the table and the bars; exits 1 if one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each shape; medians are told")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--mooncake", type=Path, help="a conversation trace with prefix ids, first half")
    parser.add_argument("--million", action="store_true", help="also a million requests, for their memory")
    parser.add_argument("--dynamo-python", help="an interpreter that has ai-dynamo-runtime")
    asked = parser.parse_args()
    bars, base = Bars(), {"requests": asked.requests, "workers": asked.workers}
    print(
        "| what | CPU s | requests per CPU s | M output tokens per CPU s | peak MB |\n| --- | --- | --- | --- | --- |"
    )
    runs = {policy: measured(base | {"policy": policy}, asked.runs) for policy in BARS_PER_S}
    for policy, run in runs.items():
        told(f"{asked.requests:,} x 512/256, {asked.workers} workers, {policy}", run)
    one = runs["round-robin"]
    fewer = measured(base | {"policy": "round-robin", "requests": asked.requests // 10}, asked.runs)
    told(f"{asked.requests // 10:,} of them, round-robin", fewer)
    # The same seconds of traffic on both: while a fleet fills, forecasts are young and corrected more often.
    short, long = asked.requests // 4, asked.requests * 4
    narrow = measured(base | {"policy": "round-robin", "requests": short}, asked.runs)
    told(f"{short:,} of them, round-robin", narrow)
    wide = measured({"policy": "round-robin", "workers": 16 * asked.workers, "requests": long}, max(asked.runs // 2, 1))
    told(f"{long:,} on {16 * asked.workers:,} workers, round-robin", wide)
    for policy, run in runs.items():
        bars.at_least(f"requests per CPU second, {policy}", run["requests_per_cpu_s"], BARS_PER_S[policy])
    bars.at_most("CPU time of ten times the requests", one["cpu_s"] / fewer["cpu_s"], MORE_REQUESTS)
    bars.at_most(
        "CPU time per request on sixteen times the workers",
        narrow["requests_per_cpu_s"] / wide["requests_per_cpu_s"],
        MORE_WORKERS,
    )
    if asked.mooncake:
        shape = {"trace": str(asked.mooncake), "workers": asked.workers, "policy": "prefix-affinity"}
        mooncake = measured(shape, asked.runs)
        told(f"{asked.mooncake.name}, {asked.workers} workers, prefix-affinity", mooncake)
        print(f"  prompt tokens found in a cache: {mooncake['prefix_hit_tokens'] / mooncake['prompt_tokens']:.1%}")
        bars.at_most("CPU s of the trace, prefix-affinity", mooncake["cpu_s"], MOONCAKE_CPU_S)
    if asked.million:
        million = measured(base | {"policy": "round-robin", "requests": 1_000_000}, 1)
        told("1,000,000 of them, round-robin", million)
        bars.at_most("GB of a million requests", million["peak_mbytes"] / 1024, MILLION_GB)
    if asked.dynamo_python:
        rival = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "router": "round_robin"} | base
        theirs = dynamo_replay(
            asked.dynamo_python, rival | {"rate_per_s": asked.workers * RATE_PER_WORKER}, max(asked.runs // 2, 1)
        )
        ours = measured(base | {"policy": "round-robin"}, asked.runs)
        print(f"{theirs['simulator']}, round robin: {theirs['requests_per_cpu_s']:,.0f} requests per CPU s")
        print(f"ours in the same minutes is {ours['requests_per_cpu_s'] / theirs['requests_per_cpu_s']:.1f} times that")
    sys.exit(1 if bars.missed else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        print(json.dumps(simulated(json.loads(sys.argv[2]))))
    else:
        main()
