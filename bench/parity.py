"""A live run and its simulation, side by side: the same rows, the same fleet file, the same policy.

    python bench/parity.py --seed 1            # QUICK=1: one round of 20 s instead of three of 60 s

Starts `tokenyard serve` with embedded workers as processes, sends the shipped trace over HTTP, replays the recorded
journal through the pure scheduler, and simulates the same rows. Bars: every decision identical; live p50 of TTFT and
TPOT within 5 % of the simulation, medians over rounds. Gateway, loopback and HTTP servers add a constant to TTFT that
the simulator does not know: it is measured first, on single requests to an idle fleet, and stated.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from loadgen.loadtest import LoadTest, Target
from loadgen.result import Result
from loadgen.simulate import SPLIT_CALLS, Simulation
from loadgen.trace import Row
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from policies.table import load as load_policy
from router.config import Config, load
from router.fleet import Fleet
from router.journal import replay
from router.layout import layout
from router.scheduler import Scheduler

ROOT = Path(__file__).resolve().parent.parent
FLEET = ROOT / "loadgen" / "data" / "demo.yaml"
TRACE = ROOT / "loadgen" / "data" / "azure2023_conv_10min.csv.gz"
CLASSES = "chat:0.6,agent:0.2,batch:0.2"
RATE_SCALE = 2.0
BAR = 0.05
CALIBRATION = [Row(index, index * 0.5, 256, 16) for index in range(24)]
"""Single requests to an idle fleet, half a second apart."""


def scheduler(config: Config) -> Scheduler:
    """A fresh one, as the gateway builds it."""
    laid_out, limits = layout(config), config.limits
    policy = load_policy(config.policy.name, config.policy.options)
    fleet = Fleet(laid_out.workers, laid_out.links)
    return Scheduler(fleet, policy, queue_limit=limits.queue, queue_timeout_s=limits.queue_timeout_s)


@asynccontextmanager
async def served(journal: Path) -> AsyncIterator[str]:
    """`tokenyard serve` on the fleet file; yields its address."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("tokenyard")),
        *("serve", "--config", str(FLEET), "--journal", str(journal), "--drain", "5"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        if (found := re.search(r"gateway on (\S+),", line)) is None:
            raise SystemExit(f"tokenyard serve did not start; it said {line!r}")
        yield found[1]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def live(rows: Iterable[Row], traffic: Traffic, journal: Path) -> Sequence[Result]:
    """The rows over HTTP, as a client saw them."""
    async with served(journal) as url:
        test = LoadTest(Target(url, traffic.model, simulated=True), traffic)
        await test.run(rows)
    return test.results


def simulated(config: Config, rows: Iterable[Row], traffic: Traffic, overhead_s: float) -> Sequence[Result]:
    """The rows in virtual time."""
    simulation = Simulation(
        scheduler(config),
        rows,
        traffic.request,
        probe_interval_s=config.limits.probe_interval_s,
        overhead_s=overhead_s,
    )
    simulation.run()
    return simulation.results


def p50(results: Iterable[Result], figure: str) -> float:
    """Median of a figure over the requests that have it."""
    return statistics.median(value for result in results if (value := getattr(result, figure)) is not None)


def overhead(config: Config, traffic: Traffic, folder: Path) -> float:
    """Seconds each call to a worker adds to the first token of a request that nothing else disturbs."""
    seen = {result.arrival_s: result for result in asyncio.run(live(CALIBRATION, traffic, folder / "idle.jsonl"))}
    added = []
    for foreseen in simulated(config, CALIBRATION, traffic, 0.0):
        ttft_s = seen[foreseen.arrival_s].ttft_s
        if ttft_s is not None and foreseen.ttft_s is not None:
            added.append((ttft_s - foreseen.ttft_s) / (SPLIT_CALLS if foreseen.split else 1))
    return statistics.median(added)


def main() -> int:
    """0 when every bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the classes drawn for the rows")
    seed = parser.parse_args().seed
    rounds, seconds = (1, 20.0) if os.environ.get("QUICK") else (3, 60.0)
    config = load(FLEET)
    traffic = Traffic.of(config, None, CLASSES, seed)
    ratios: dict[str, list[float]] = {"ttft_s": [], "tpot_s": []}
    decisions, differences = 0, 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        overhead_s = overhead(config, traffic, folder)
        each = f"for each call to a worker, of which a split makes {SPLIT_CALLS}"
        print(f"constant overhead of the live path on TTFT: {overhead_s * 1e3:.2f} ms {each}")
        for number in range(rounds):
            rows = list(
                Workload(TRACE, start_s=RATE_SCALE * seconds * number, duration_s=seconds, rate_scale=RATE_SCALE).rows()
            )
            journal = folder / f"{number}.jsonl"
            seen = asyncio.run(live(rows, traffic, journal))
            with journal.open("rb") as lines:
                counted, differing = replay(scheduler(config), lines)
            decisions, differences = decisions + counted, differences + len(differing)
            foreseen = simulated(config, rows, traffic, overhead_s)
            for figure, found in ratios.items():
                found.append(p50(seen, figure) / p50(foreseen, figure))
                median_ms = p50(seen, figure) * 1e3
                print(
                    f"round {number}: {len(rows)} requests, live {figure} p50 {median_ms:.2f} ms, ratio {found[-1]:.3f}"
                )
    met = [(differences == 0, f"{decisions - differences} of {decisions} replayed decisions are identical")]
    for figure, found in ratios.items():
        ratio = statistics.median(found)
        met.append(
            (abs(ratio - 1) <= BAR, f"live {figure} p50 is {ratio:.3f} of the simulation's (bar: within {BAR:.0%})")
        )
    print(*(f"{'met' if good else 'MISSED'}: {line}" for good, line in met), sep="\n")
    return 0 if all(good for good, _ in met) else 1


if __name__ == "__main__":
    sys.exit(main())
