"""Which policy is better: do the simulator and live runs agree? Every pair of policies, on several traces.

    python bench/rank_policies.py                                    # the shipped trace and two made workloads
    python bench/rank_policies.py --trace a.csv.gz:0:3 --trace b.csv.gz:600:1.5 --trace c.csv.gz

Live: a gateway with embedded worker processes, paced by their devices' profiles, under the rows of a trace over HTTP.
Simulated: the same rows, fleet, policies and seeds in virtual time. A seed draws classes and the policies' own chances.
Two policies differ where the means of their live runs over the seeds are more than two standard deviations apart,
pooled over the two; there the simulation's means must be apart in the same direction. Figures: goodput, p99 of TTFT.

Workers, the gateway's clock and the arrivals run `speed` times as fast as life, each trace as fast as
`TOKENS_PER_S` tokens a second allow, so that neither gateway nor client is short of CPU; how much they took is printed.
What gateway, loopback and HTTP add to the first token is measured on single requests first, as in `bench/parity.py`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import psutil
import uvloop

from loadgen.embedded import Urls, embedded
from loadgen.lengths import Lognormal
from loadgen.loadtest import LoadTest, Target
from loadgen.result import Result
from loadgen.runs import policy, simulated
from loadgen.simulate import SPLIT_CALLS
from loadgen.spread import spread
from loadgen.trace import Row
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from policies.table import POLICIES
from router.app import build, running
from router.config import Config, load
from router.layout import layout
from router.schema import Listen, Operator, PolicyEntry

ROOT = Path(__file__).resolve().parent.parent
FLEET = ROOT / "loadgen" / "data" / "demo.yaml"
SHIPPED = f"{ROOT}/loadgen/data/azure2023_conv_10min.csv.gz:0:3"
CLASSES = "chat:0.6,agent:0.2,batch:0.2"
FIGURES = ("goodput_rps", "ttft_p99_s")
APART_SD = 2.0
TOKENS_PER_S = 8000.0
"""Output tokens a second of wall time at most; each takes gateway and client together some 50 us of CPU."""
LATE_S = 0.05
"""Wall seconds; a client this late was kept from the CPU by something, and so were the gateway and the workers."""
FASTEST = 2.0
"""What HTTP adds to each call is that many times longer in model time, and so is the delay of the scheduler's news."""
CALIBRATION_GAP_S = 0.25
"""Wall seconds between the single requests that measure the overhead; each is answered by then."""

Found = dict[str, float]
"""Figures of one run by name, in model time."""


@dataclass(frozen=True, slots=True)
class Case:
    """A named workload, as fast as it is replayed live."""

    name: str
    workload: Workload
    speed: float = 1.0

    def paced(self) -> Case:
        """At a speed that leaves CPU to spare."""
        rows = list(self.workload.rows())
        tokens_per_s = sum(row.output_tokens for row in rows) / max(rows[-1].arrival_s, 1.0)
        return replace(self, speed=min(FASTEST, max(TOKENS_PER_S / tokens_per_s, 0.1)))


@dataclass(frozen=True, slots=True)
class Contestant:
    """A policy under a name of its own; `config` is the fleet with its options."""

    name: str
    policy: str
    config: Config


def contestants(config: Config, margin: float) -> list[Contestant]:
    """Every shipped policy, and `cost-slo` once more with another margin."""
    found = [Contestant(name, name, config) for name in POLICIES]
    tight = config.model_copy(update={"policy": PolicyEntry.model_validate({"name": "cost-slo", "margin": margin})})
    return [*found, Contestant(f"cost-slo, margin {margin:g}", "cost-slo", tight)]


def cases(traces: Sequence[str], seconds: float) -> list[Case]:
    """`FILE[:START[:SCALE]]` each; without any, the shipped trace, bursts of chat, and long prompts."""
    found = [_trace(text, seconds) for text in traces or [SHIPPED]]
    if not traces:
        bursts = Workload(rate_per_s=12.0, arrivals="gamma:3", duration_s=seconds, seed=1)
        long = Workload(rate_per_s=3.0, input=Lognormal(7000, 0.8), output=Lognormal(300, 0.5), duration_s=seconds)
        found += [Case("bursts", bursts), Case("long prompts", long)]
    return [case.paced() for case in found]


def _trace(text: str, seconds: float) -> Case:
    file, _, rest = text.partition(":")
    start, _, scale = rest.partition(":")
    path = Path(file)
    workload = Workload(path, start_s=float(start or 0), rate_scale=float(scale or 1), duration_s=seconds)
    return Case(path.name.split(".")[0], workload)


# live


@asynccontextmanager
async def gateway(fleet: Contestant, urls: Urls, seed: int, speed: float) -> AsyncIterator[str]:
    """A fresh gateway in this process over workers that are there already; yields its address.

    Its clock runs with the workers', so that quotes, reports and arrivals are in one time.
    """
    limits = fleet.config.limits
    config = fleet.config.model_copy(
        update={
            "listen": Listen(port=0),
            "operator": Operator(port=0),
            "limits": limits.model_copy(update={"probe_interval_s": limits.probe_interval_s / speed}),
        }
    )
    chosen = policy(fleet.config, fleet.policy, seed)
    app = build(config, layout(config, urls), policy=chosen, clock=lambda: time.monotonic() * speed)
    async with running(app):
        yield app.url


async def live(fleet: Contestant, urls: Urls, rows: Iterable[Row], traffic: Traffic, seed: int, speed: float) -> Ran:
    """The rows over HTTP, as a client saw them."""
    faster = [replace(row, arrival_s=row.arrival_s / speed) for row in rows]
    async with gateway(fleet, urls, seed, speed) as url:
        # Prompts differ from run to run, so no worker has seen them.
        test = LoadTest(Target(url, traffic.model, simulated=True, seed=time.monotonic_ns() % 2**31), traffic)
        await test.run(faster)
    return Ran([_in_model_time(result, speed) for result in test.results], test.duration_s * speed, test.late_s)


def _in_model_time(result: Result, speed: float) -> Result:
    return replace(
        result,
        arrival_s=result.arrival_s * speed,
        ttft_s=None if result.ttft_s is None else result.ttft_s * speed,
        e2e_s=None if result.e2e_s is None else result.e2e_s * speed,
    )


async def overhead(fleet: Contestant, urls: Urls, traffic: Traffic, speed: float) -> float:
    """Model seconds that each call to a worker adds to the first token of a request nothing else disturbs."""
    rows = [Row(index, index * CALIBRATION_GAP_S * speed, 256, 16) for index in range(24)]
    ran = await live(fleet, urls, rows, traffic, 0, speed)
    seen = {round(result.arrival_s, 6): result.ttft_s for result in ran.results}
    added = []
    for result in foreseen(fleet, Given(given=tuple(rows)), traffic, 0.0).results:
        ttft_s = seen[round(result.arrival_s, 6)]
        if ttft_s is not None and result.ttft_s is not None:
            added.append((ttft_s - result.ttft_s) / (SPLIT_CALLS if result.split else 1))
    return statistics.median(added)


# simulated


@dataclass(frozen=True, slots=True)
class Given(Workload):
    """Rows that are there already."""

    given: tuple[Row, ...] = ()

    def rows(self) -> Iterator[Row]:
        return iter(self.given)


def foreseen(fleet: Contestant, workload: Workload, traffic: Traffic, overhead_s: float) -> Ran:
    """The run in virtual time."""
    run = simulated(fleet.config, layout(fleet.config), fleet.policy, workload, traffic, overhead_s=overhead_s)
    return Ran(list(run.results), run.duration_s)


# both


@dataclass(frozen=True, slots=True)
class Ran:
    """Results and length of one run, in model time; `late_s` is the worst delay of the client, in wall seconds."""

    results: Sequence[Result]
    duration_s: float
    late_s: float = 0.0

    def figures(self) -> Found:
        """What policies are ranked by."""
        first_s = [result.ttft_s for result in self.results if result.ttft_s is not None]
        good = sum(result.attained for result in self.results)
        return {"goodput_rps": good / self.duration_s, "ttft_p99_s": spread(first_s)["p99"] or math.nan}


@dataclass(slots=True)
class Seen:
    """All runs of one policy under one workload, one of each kind for a seed."""

    live: list[Found] = field(default_factory=list)
    simulated: list[Found] = field(default_factory=list)

    def mean(self, kind: str, figure: str) -> float:
        return statistics.fmean(found[figure] for found in getattr(self, kind))

    def sd(self, figure: str) -> float:
        """Of the live runs, over the seeds."""
        return statistics.stdev(found[figure] for found in self.live)


Table = dict[str, Seen]
"""By name of the contestant."""


async def measured(case: Case, fleets: Sequence[Contestant], seeds: Sequence[int]) -> Table:
    """Both kinds of runs of every policy; policies take turns, so that a busy minute of the machine hits them alike."""
    table: Table = {fleet.name: Seen() for fleet in fleets}
    rows = tuple(replace(row, hash_ids=()) for row in case.workload.rows())
    async with embedded(FLEET, fleets[0].config, case.speed) as urls:
        quiet = Traffic.of(fleets[0].config, None, CLASSES, 0)
        overhead_s = await overhead(fleets[0], urls, quiet, case.speed)
        meter = Meter()
        for seed in seeds:
            traffic = Traffic.of(fleets[0].config, None, CLASSES, seed)
            for fleet in fleets:
                ran = await live(fleet, urls, rows, traffic, seed, case.speed)
                meter.read(ran.late_s)
                print(f"{case.name}, seed {seed}, {fleet.name}: {len(ran.results)} requests", file=sys.stderr)
                table[fleet.name].live.append(ran.figures())
        rate = f"{len(rows)} requests in {rows[-1].arrival_s:.0f} s, live {case.speed:.3g} times as fast"
        print(f"\n### {case.name}: {rate}")
        print(f"\nEach call to a worker adds {overhead_s * 1e3:.1f} ms to the first token. {meter.line()}\n")
    for seed in seeds:
        traffic = Traffic.of(fleets[0].config, None, CLASSES, seed)
        for fleet in fleets:
            ran = foreseen(fleet, Given(seed=seed, given=rows), traffic, overhead_s)
            table[fleet.name].simulated.append(ran.figures())
    return table


class Meter:
    """CPU that this process and each of its workers took, run by run; the worst of them tells whether CPU was short."""

    def __init__(self) -> None:
        self._workers = psutil.Process().children()
        self._here, self._busiest, self._late_s = 0.0, 0.0, 0.0
        self._last = self._now()

    def read(self, late_s: float) -> None:
        """A run is over."""
        now = self._now()
        wall_s, here_s, *workers_s = (after - before for after, before in zip(now, self._last, strict=True))
        self._last = now
        self._here = max(self._here, here_s / wall_s)
        self._busiest = max(self._busiest, *(used_s / wall_s for used_s in workers_s))
        self._late_s = max(self._late_s, late_s)

    def line(self) -> str:
        said = (
            f"Gateway and client took at most {self._here:.0%} of a core, the busiest worker {self._busiest:.0%}; "
            f"requests left at most {self._late_s * 1e3:.0f} ms late."
        )
        return said if self._late_s < LATE_S else f"{said} The machine was busy: live first tokens came late for it."

    def _now(self) -> list[float]:
        workers = [sum(worker.cpu_times()[:2]) for worker in self._workers]
        return [time.monotonic(), time.process_time(), *workers]


# verdict


@dataclass(frozen=True, slots=True)
class Pair:
    """Two policies by a figure.

    Attributes:
        told_apart: the live runs differ by more than `APART_SD` pooled standard deviations.
        alike: the simulator puts the two in the order of the live runs.
    """

    figure: str
    names: tuple[str, str]
    live: tuple[float, float]
    simulated: tuple[float, float]
    told_apart: bool

    @property
    def alike(self) -> bool:
        return (self.live[0] - self.live[1]) * (self.simulated[0] - self.simulated[1]) > 0


def pairs(table: Table, figure: str) -> list[Pair]:
    """Every pair of policies."""
    found = []
    for (first, one), (second, other) in combinations(table.items(), 2):
        live = one.mean("live", figure), other.mean("live", figure)
        foretold = one.mean("simulated", figure), other.mean("simulated", figure)
        pooled = math.sqrt((one.sd(figure) ** 2 + other.sd(figure) ** 2) / 2)
        told_apart = abs(live[0] - live[1]) > APART_SD * pooled
        found.append(Pair(figure, (first, second), live, foretold, told_apart))
    return found


def markdown(table: Table) -> str:
    """One row for each policy, the best live goodput first."""
    head = ("policy", "goodput live", "simulated", "p99 TTFT live, s", "simulated, s")
    order = sorted(table, key=lambda name: -table[name].mean("live", "goodput_rps"))
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name in order:
        seen, cells = table[name], [name]
        for figure in FIGURES:
            cells.append(f"{seen.mean('live', figure):.3f} ± {seen.sd(figure):.3f}")
            cells.append(f"{seen.mean('simulated', figure):.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


async def ranked(options: argparse.Namespace) -> int:
    """0 when no pair that live runs tell apart is ordered otherwise by the simulator."""
    config = load(FLEET)
    fleets = contestants(config, options.margin)
    seeds = range(options.seed, options.seed + options.repeats)
    wrong = 0
    for case in cases(options.trace, options.seconds):
        table = await measured(case, fleets, seeds)
        print(markdown(table), flush=True)
        for figure in FIGURES:
            judged = pairs(table, figure)
            told = [pair for pair in judged if pair.told_apart]
            contrary = [pair for pair in told if not pair.alike]
            wrong += len(contrary)
            alike = f"{len(told) - len(contrary)} of the {len(told)} pairs that live runs tell apart"
            every = f"{sum(pair.alike for pair in judged)} of all {len(judged)}"
            verdict = "MISSED" if contrary else "met"
            print(f"\n{verdict}: {case.name}, {figure}: {alike} are in the same order simulated ({every})", flush=True)
            for pair in contrary:
                print(f"  {' / '.join(pair.names)}: live {_both(pair.live)}, simulated {_both(pair.simulated)}")
    return 1 if wrong else 0


def _both(figures: tuple[float, float]) -> str:
    return " / ".join(f"{figure:.4f}" for figure in figures)


def main() -> int:
    """0 when live runs and simulations agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", action="append", default=[], metavar="FILE[:START[:SCALE]]", help="may be repeated")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each trace, in model time")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument(
        "--repeats", type=int, default=3, help="seeds, each with one live run of each policy; at least 2"
    )
    parser.add_argument("--margin", type=float, default=1.0, help="of the second cost-slo")
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error("--repeats: a standard deviation takes 2 or more")
    return uvloop.run(ranked(options))


if __name__ == "__main__":
    sys.exit(main())
