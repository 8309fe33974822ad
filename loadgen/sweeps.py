"""A grid of simulations: fleets x rates x policies x seeds, each point one run that knows nothing of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

from loadgen.faults import timeline
from loadgen.finding import Finding, Misuse
from loadgen.fleet_file import laid_out
from loadgen.page_figures import Figures, figures
from loadgen.report import Json, report
from loadgen.runs import policy, simulated
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from router.config import Config, load
from router.layout import Layout

MOST_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """One run of the grid. `rate_per_s` is None where a trace's own arrivals are replayed."""

    config: Path
    rate_per_s: float | None
    rate_scale: float
    policy: str
    seed: int

    def json(self) -> Json:
        """As a report carries it."""
        return {**self.cell(), "seed": self.seed}

    def cell(self) -> Json:
        """All but the seed: what a summary is over."""
        rate: Json = {} if self.rate_per_s is None else {"rate": self.rate_per_s}
        scale: Json = {"rate_scale": self.rate_scale} if self.rate_per_s is None or self.rate_scale != 1 else {}
        return {"config": str(self.config), **rate, **scale, "policy": self.policy}

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.json().items())


@dataclass(frozen=True, slots=True)
class Ran:
    """What one point gave: its report, and the figures of its plots where a page was asked for."""

    report: Json
    figures: Figures | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What all points of a grid have in common. Crosses process borders, so it holds only plain values.

    Attributes:
        workload: of which each point replaces rate, scale and seed.
        plots: whether figures for a page are wanted.
        faults: a file of what goes wrong, the same in every run.
    """

    workload: Workload
    model: str | None = None
    classes: str | None = None
    tenants: str | None = None
    overhead_s: float = 0.0
    timing: bool = True
    plots: bool = False
    faults: Path | None = None

    def check(self, points: Iterable[Point]) -> None:
        """Raise now what would be raised by the hundredth run: bad files, names and options."""
        for point in points:
            config, layout = _fleet(point.config)
            timeline(self.faults, layout)
            Traffic.of(config, self.model, self.classes, point.seed, self.tenants)
            policy(config, point.policy, point.seed)
            self._workload(point).rows()

    def run(self, point: Point) -> Ran:
        """One simulation and its report."""
        config, layout = _fleet(point.config)
        run = simulated(
            config,
            layout,
            point.policy,
            self._workload(point),
            Traffic.of(config, self.model, self.classes, point.seed, self.tenants),
            overhead_s=self.overhead_s,
            timing=self.timing,
            timeline=timeline(self.faults, layout),
        )
        if not run.results:
            raise Finding("nothing to simulate: no request comes between --start and the end of --duration")
        return Ran(report(run), figures(run) if self.plots else None)

    def _workload(self, point: Point) -> Workload:
        return replace(self.workload, rate_per_s=point.rate_per_s, rate_scale=point.rate_scale, seed=point.seed)


@lru_cache(maxsize=16)
def _fleet(file: Path) -> tuple[Config, Layout]:
    """Read once per process: nothing in it changes, and each run books in a fleet of its own."""
    config = load(file)
    return config, laid_out(file, config)


def grid(
    configs: Sequence[Path],
    rates_per_s: Sequence[float | None],
    rate_scales: Sequence[float],
    policies: Sequence[str],
    seeds: Sequence[int],
) -> list[Point]:
    """Every combination, seeds changing fastest. No policy named: each fleet's own."""
    return [
        Point(config, rate, scale, name, seed)
        for config, rate, scale in product(configs, rates_per_s, rate_scales)
        for name in policies or [_fleet(config)[0].policy.name]
        for seed in seeds
    ]


def figures_of(option: str, text: str, most: float = 1e6) -> list[float]:
    """`5,10,20`; raises `Misuse` for what is no positive number, or one that comes twice."""
    found: list[float] = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 1e-6 <= value <= most or value in found:
            raise Misuse(
                f"{option} {text}: expected a number from 0.000001 to {most:,.0f}, or several, each once: 5,10,20"
            )
        found.append(value)
    return found


def seeds_of(text: str) -> list[int]:
    """`7`, `1,2,3` or `1..5`, the last one included; raises `Misuse`."""
    found = [seed for part in text.split(",") for seed in _seeds(part)]
    if not found or len(set(found)) != len(found) or len(found) > MOST_SEEDS:
        raise Misuse(f"--seed {text}: expected a whole number, several (1,2,3) or a range (1..5), each seed once")
    return found


def _seeds(part: str) -> Iterator[int]:
    first, dots, last = part.strip().partition("..")
    if first.isdecimal() and (last.isdecimal() or not dots):
        yield from range(int(first), min(int(last or first), int(first) + MOST_SEEDS) + 1)
