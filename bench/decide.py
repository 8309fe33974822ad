"""What the scheduler costs: one decision, and the whole life of a request, by policy, shape and size of the fleet.

    python bench/decide.py                      # all policies: two minutes
    python bench/decide.py --policy cost-slo

CPU time, microseconds. A decision is one `submit` that is answered by a placement: the median, less what reading the
clock takes. A life is submit, first token and end, with one report of a worker: the least of five runs. The fleet has
four kinds of GPU and TPU workers, with 24 requests each in flight; `hard` adds SRAM machines, whose few slots fill up;
in `P/D` half of the workers prefill and half decode, and all pairs are linked. Prints one line for each bar; exit 1
when a bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from devices import catalog
from devices.feasibility import limits
from devices.natures import choice
from devices.profile import Precision
from devices.worker import Billing, BillingKind, Link, Phase, Pool, Worker
from policies.api import Placement, Request, Slo
from policies.table import POLICIES, load
from router.fleet import PREFIX_TOKENS, Fleet
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler

MODEL = "llama-3.1-70b"
SOFT = (
    ("h200-sxm", 4, Precision.FP8),
    ("h100-sxm", 4, Precision.FP8),
    ("mi300x", 4, Precision.FP8),
    ("tpu-v6e", 8, Precision.BF16),
)
HARD = ("groq-lpu-v1", 576, Precision.INT8)
SHAPES = ("whole", "hard", "P/D")
SIZES = (16, 64, 256, 1000)
IN_FLIGHT = 24
HEADS, HEAD_BLOCKS = 32, 25
WARM_UP = 4000
"""Turns before anything is measured: a gateway that has run for minutes has met most lengths of prompts before."""

DECISION_US = {
    ("cost-slo", "whole", 16): 30.0,
    ("cost-slo", "whole", 256): 60.0,
    ("cost-slo", "whole", 1000): 100.0,
    ("cost-slo", "P/D", 1000): 100.0,
    ("prefix-affinity", "whole", 64): 30.0,
}
LIFE_US = {("round-robin", "whole", 64): 8.0}
GROWTH = 1.5
"""From 64 to 1,000 workers, of the life under a policy that looks at no load."""
GROWING = ("round-robin", "random", "power-of-two")

Row = tuple[str, str, int]
"""(policy, shape, workers)."""


def pool(name: str, device_id: str, chips: int, precision: Precision, phases: frozenset[Phase]) -> Pool:
    """Workers of one device as the catalogue knows it."""
    device, model = catalog.device(device_id), catalog.model(MODEL)
    return Pool(
        name=name,
        model=MODEL,
        phases=phases,
        engine="vllm",
        billing=Billing(BillingKind.ON_DEMAND, device.usd_per_chip_hour or 1.0),
        predictor=choice.predictor(device, model, chips, precision, Precision.FP16),
        limits=limits(device, model, chips, precision, Precision.FP16),
        device=device,
        shape=model,
        chips=chips,
        precision=precision,
    )


def fleet(workers: int, shape: str) -> Fleet:
    """Workers of every pool in turn."""
    both = [frozenset({phase}) for phase in Phase] if shape == "P/D" else [frozenset(Phase)]
    kinds = (*SOFT, HARD) if shape == "hard" else SOFT
    pools = [pool(f"{kind[0]}-{number}", *kind, phases) for number, phases in enumerate(both) for kind in kinds]
    senders, takers = ([one.name for one in pools if phase in one.phases] for phase in Phase)
    links = {(sender, taker): Link(50e9, 0.0005, 2e-6) for sender in senders for taker in takers}
    built = [Worker(f"w{number}", pools[number % len(pools)], "") for number in range(workers)]
    return Fleet(built, links if shape == "P/D" else {})


class Traffic:
    """A scheduler under steady load. In a turn one request comes, an earlier one begins to answer, another ends."""

    def __init__(self, policy: str, shape: str, workers: int, seed: int = 1) -> None:
        self.scheduler = Scheduler(fleet(workers, shape), load(policy), queue_limit=100_000)
        self._heads = HEADS if policy == "prefix-affinity" else 0
        self._draw = np.random.default_rng(seed)
        self._count = 0
        self._now = 0.0
        self._gap_s = 2.0 / workers
        self._young: deque[Request] = deque()
        self._old: deque[Request] = deque()
        self._names = list(self.scheduler.fleet.by_name)
        for _ in range(IN_FLIGHT * workers):
            self._taken(self.scheduler.submit(self._asked(), self._now))

    def _asked(self) -> Request:
        """Prompts of mostly 200 to 6,000 tokens; for a policy that goes by them, after one of the shared heads."""
        self._count += 1
        head = 1000 * int(self._draw.integers(self._heads)) if self._heads else 0
        blocks = tuple(range(head, head + HEAD_BLOCKS)) if self._heads else ()
        return Request(
            id=f"r{self._count}",
            model=MODEL,
            prompt_tokens=int(self._draw.lognormal(7.0, 0.7)) + PREFIX_TOKENS * len(blocks),
            arrival_s=self._now,
            max_tokens=1000,
            slo=Slo(ttft_s=10.0, tpot_s=0.2),
            traffic_class="chat",
            prefix=blocks,
        )

    def _told(self, turns: int) -> list[tuple[float, Request, WorkerReport]]:
        """When each turn is, its request and its report: drawn before, so that nobody's time is taken by drawing."""
        told = []
        for _ in range(turns):
            self._now += self._gap_s
            told.append((self._now, self._asked(), WorkerReport(IN_FLIGHT, 0, 0.5, self._now)))
        return told

    def decisions_us(self, turns: int) -> list[float]:
        """Of each turn's decision, reading the clock included."""
        found, clock = [], time.process_time_ns
        for now, request, report in self._told(turns):
            start = clock()
            decisions = self.scheduler.submit(request, now)
            found.append((clock() - start) / 1000)
            self._taken(decisions)
            self._others(report, now)
        return found

    def life_us(self, turns: int) -> float:
        """Of the mean turn, this loop included."""
        told = self._told(turns)
        start = time.process_time_ns()
        for now, request, report in told:
            self._taken(self.scheduler.submit(request, now))
            self._others(report, now)
        return (time.process_time_ns() - start) / turns / 1000

    def _taken(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision.outcome, Placement):
                self._young.append(decision.request)

    def _others(self, report: WorkerReport, now: float) -> None:
        scheduler = self.scheduler
        if self._young:
            request = self._young.popleft()
            self._old.append(request)
            self._taken(scheduler.first_token(request.id, 1, now))
        if len(self._old) > IN_FLIGHT * len(self._names):
            self._taken(scheduler.attempt_ended(self._old.popleft().id, 1, End.FINISHED, 200, now))
        self._taken(scheduler.report(self._names[int(report.at_s / self._gap_s) % len(self._names)], report, now))


def measured(policy: str, shape: str, workers: int, turns: int, clock_us: float) -> tuple[float, float]:
    """Microseconds of a decision and of a life."""
    traffic = Traffic(policy, shape, workers)
    traffic.life_us(WARM_UP)
    decision_us = statistics.median(traffic.decisions_us(turns)) - clock_us
    return decision_us, min(traffic.life_us(turns // 5) for _ in range(5))


def clock_us() -> float:
    """What reading the clock takes."""
    clock = time.process_time_ns
    return statistics.median(-(clock() - clock()) for _ in range(10_000)) / 1000


def bars(found: dict[Row, tuple[float, float]]) -> list[tuple[str, float, float]]:
    """What was measured, and the most it may be."""
    rows = [
        (f"{name(row)}: one decision, us", found[row][0], most) for row, most in DECISION_US.items() if row in found
    ]
    rows += [(f"{name(row)}: one life, us", found[row][1], most) for row, most in LIFE_US.items() if row in found]
    for policy in GROWING:
        few, many = (policy, "whole", 64), (policy, "whole", 1000)
        if few in found:
            rows.append((f"{policy}: a life with 1,000 workers to one with 64", found[many][1] / found[few][1], GROWTH))
    return rows


def name(row: Row) -> str:
    """A row in words."""
    policy, shape, workers = row
    return f"{policy}, {shape}, {workers:,} workers"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2000, help=f"measured, after {WARM_UP} others")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="repeatable; all by default")
    options = parser.parse_args()
    gc.disable()
    reading_us = clock_us()
    print("| policy | shape | workers | decision us | life us |\n|---|---|--:|--:|--:|")
    found = {}
    for policy in options.policy or POLICIES:
        for shape in SHAPES:
            for workers in SIZES:
                row = policy, shape, workers
                found[row] = measured(*row, options.turns, reading_us)
                print(f"| {policy} | {shape} | {workers:,} | {found[row][0]:.1f} | {found[row][1]:.1f} |", flush=True)
    missed = 0
    for what, value, most in bars(found):
        missed += value > most
        print(f"{'met' if value <= most else 'MISSED'}: {what}: {value:.1f} (at most {most:g})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
