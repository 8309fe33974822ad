"""What the scheduler costs: one decision, and the whole life of a request, by policy and size of fleet.

    python bench/decide.py

CPU time. A decision is one `submit`, answered by a placement: the median, less what reading the clock takes. A life is
submit, prefilled in a split, first token, end, and its share of reports, one a second from each worker. Workers are
loaded with 24 requests each on average; every fifth worker is an SRAM machine of hard slots.
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
from router.fleet import Fleet
from router.load import WorkerReport
from router.scheduler import Decision, End, Scheduler

MODEL = "llama-3.1-70b"
DEVICES = (
    ("h200-sxm", 4, Precision.FP8),
    ("h100-sxm", 4, Precision.FP8),
    ("mi300x", 4, Precision.FP8),
    ("tpu-v6e", 8, Precision.BF16),
    ("groq-lpu-v1", 576, Precision.INT8),
)
SIZES = (16, 64, 256, 1000)
IN_FLIGHT = 24
WARM_UP = 4000
"""Turns before anything is measured: a gateway that has run for minutes has met most lengths of prompts before."""
PREFIX_BLOCKS = 25
DECISION_US = {
    ("cost-slo", 16): 30.0,
    ("cost-slo", 256): 60.0,
    ("cost-slo", 1000): 100.0,
    ("prefix-affinity", 64): 30.0,
}
LIFE_US = 8.0
GROWTH = 1.5
LOOP_US = 0.5


def pools(phases: Sequence[frozenset[Phase]]) -> list[Pool]:
    """One of each device for each set of phases."""
    return [
        _pool(f"{device}-{k}", device, chips, precision, some)
        for k, some in enumerate(phases)
        for device, chips, precision in DEVICES
    ]


def _pool(name: str, device_id: str, chips: int, precision: Precision, phases: frozenset[Phase]) -> Pool:
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


def fleet(workers: int, split: bool, hard: bool) -> Fleet:
    """Workers of every device in turn: all serve both phases, or half of them one, half the other, all linked."""
    one = [frozenset({Phase.PREFILL}), frozenset({Phase.DECODE})] if split else [frozenset(Phase)]
    rows = [pool for pool in pools(one) if hard or not pool.limits.hard_slots]
    built = [Worker(f"w{i}", rows[i % len(rows)], "") for i in range(workers)]
    senders, takers = ([pool.name for pool in rows if phase in pool.phases] for phase in Phase)
    links = {(p, d): Link(50e9, 0.0005, 2e-6) for p in senders for d in takers} if split else {}
    return Fleet(built, links)


class Traffic:
    """A scheduler under steady load. A turn is one request in, one first token and one end of earlier ones."""

    def __init__(self, policy: str, workers: int, split: bool, hard: bool, seed: int = 1) -> None:
        self.scheduler = Scheduler(fleet(workers, split, hard), load(policy), queue_limit=100_000)
        self._draw = np.random.default_rng(seed)
        self._count = 0
        self._now = 0.0
        self._gap_s = 2.0 / workers
        self._prefixes = policy == "prefix-affinity"
        self._young: deque[Request] = deque()
        self._old: deque[Request] = deque()
        self._names = list(self.scheduler.fleet.by_name)
        self.decisions_us: list[float] = []
        for _ in range(IN_FLIGHT * workers):
            self._enter(self._asked())

    def _asked(self) -> Request:
        """Prompts of mostly 200 to 6,000 tokens; for a policy that goes by them, after one of 32 shared heads."""
        draw, self._count = self._draw, self._count + 1
        prompt, shared = int(draw.lognormal(7.0, 0.7)), int(draw.integers(0, 32))
        blocks = tuple(range(100 * shared, 100 * shared + PREFIX_BLOCKS)) if self._prefixes else ()
        return Request(
            id=f"r{self._count}",
            model=MODEL,
            prompt_tokens=prompt + 512 * len(blocks),
            arrival_s=self._now,
            max_tokens=1000,
            slo=Slo(ttft_s=10.0, tpot_s=0.2),
            traffic_class="chat",
            prefix=blocks,
        )

    def _enter(self, request: Request) -> None:
        for decision in self.scheduler.submit(request, self._now):
            self._taken(decision)

    def _taken(self, decision: Decision) -> None:
        if isinstance(decision.outcome, Placement):
            self._young.append(decision.request)

    def decide(self, turns: int) -> list[float]:
        """CPU microseconds of each decision."""
        found, clock = [], time.process_time_ns
        for now, request, report in self._told(turns):
            self._now = now
            start = clock()
            decisions = self.scheduler.submit(request, now)
            found.append(clock() - start)
            for decision in decisions:
                self._taken(decision)
            self._others(report)
        return [nanoseconds / 1000 for nanoseconds in found]

    def _told(self, turns: int) -> list[tuple[float, Request, WorkerReport]]:
        """When each turn is, its request and its report: drawn before, so that nobody's time is taken by drawing."""
        told = []
        for _ in range(turns):
            self._now += self._gap_s
            told.append((self._now, self._asked(), WorkerReport(IN_FLIGHT, 0, 0.5, self._now)))
        return told

    def _others(self, report: WorkerReport) -> None:
        scheduler, now = self.scheduler, self._now
        if self._young:
            request = self._young.popleft()
            for decision in scheduler.first_token(request.id, 1, now):
                self._taken(decision)
            self._old.append(request)
        if len(self._old) > IN_FLIGHT * len(self._names):
            for decision in scheduler.attempt_ended(self._old.popleft().id, 1, End.FINISHED, 200, now):
                self._taken(decision)
        name = self._names[self._count % len(self._names)]
        for decision in scheduler.report(name, report, now):
            self._taken(decision)

    def live(self, turns: int) -> float:
        """CPU microseconds of a turn; neither drawing requests nor what this loop takes is counted."""
        told = self._told(turns)
        start = time.process_time_ns()
        for self._now, request, report in told:
            self._enter(request)
            self._others(report)
        return (time.process_time_ns() - start) / turns / 1000 - LOOP_US


def clock_us() -> float:
    """What reading the clock twice takes."""
    clock = time.process_time_ns
    return statistics.median(-(clock() - clock()) for _ in range(10_000)) / 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--policy", action="append", help="repeatable; all by default")
    options = parser.parse_args()
    gc.disable()
    missed = 0
    overhead_us = clock_us()
    for policy in options.policy or POLICIES:
        for shape, split, hard in (("whole", False, False), ("mixed", False, True), ("P/D", True, False)):
            for workers in SIZES:
                traffic = Traffic(policy, workers, split, hard)
                traffic.live(WARM_UP)
                median = statistics.median(traffic.decide(options.turns)) - overhead_us
                life = min(traffic.live(options.turns // 5) for _ in range(5))
                print(f"{policy:16} {shape:6} {workers:5} {median:8.1f} {life:8.1f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
