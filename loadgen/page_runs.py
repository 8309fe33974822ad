"""The runs of a page, put in order: by load, and by series - a policy, of a fleet where there are several."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.page_figures import Figures
from loadgen.sweeps import Point, Ran

DETAIL_BYTES = 1_000_000
CURVE_BYTES, POOL_BYTES = 2200, 4200
"""What the plots of a run take: a distribution, and a pool's part of both stacks. Measured, on the high side."""


@dataclass(frozen=True, slots=True)
class PageRun:
    """One run. `load` tells runs under the same traffic; `seed` those that differ by chance only."""

    fleet: str
    load: str
    policy: str
    seed: int
    report: dict[str, Any]
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Over:
    """A figure over seeds; `sd` is None for one seed."""

    mean: float
    sd: float | None


@dataclass(frozen=True, slots=True)
class PageRuns:
    """All runs of a page.

    Attributes:
        series: (fleet, policy), in order of appearance; their number gives colour, dashes and mark.
        loads: in order of appearance.
    """

    runs: Sequence[PageRun]
    series: Sequence[tuple[str, str]]
    loads: Sequence[str]

    @classmethod
    def of(cls, points: Sequence[Point], ran: Sequence[Ran]) -> PageRuns:
        """Of a sweep, one point being the least of them."""
        fleets = _fleets([point.config for point in points])
        runs = [
            PageRun(fleets[point.config], _load(point), point.policy, point.seed, one.report, one.figures)
            for point, one in zip(points, ran, strict=True)
        ]
        series = dict.fromkeys((run.fleet, run.policy) for run in runs)
        return cls(runs, list(series), list(dict.fromkeys(run.load for run in runs)))

    def name(self, number: int) -> str:
        """Of a series, as short as it can be."""
        fleet, policy = self.series[number]
        return policy if len({fleet for fleet, _ in self.series}) == 1 else f"{fleet} · {policy}"

    def cell(self, load: str, number: int) -> list[PageRun]:
        """The runs of one series under one load, one per seed."""
        return [run for run in self.runs if run.load == load and (run.fleet, run.policy) == self.series[number]]

    def offered_rps(self, load: str) -> float:
        """Requests per second, over all runs under that load."""
        return statistics.fmean(run.report["offered_rps"] for run in self.runs if run.load == load)

    @property
    def most_details(self) -> int:
        """How many runs can be drawn in detail before the page grows too large."""
        figures = [run.figures for run in self.runs if run.figures is not None]
        sizes = [sum(map(len, one.curves.values())) * CURVE_BYTES + len(one.pools) * POOL_BYTES for one in figures]
        return max(1, DETAIL_BYTES // max(sizes, default=1))

    def detailed(self) -> list[str]:
        """The loads whose distributions are drawn: all, or evenly chosen ones, the first and the last among them."""
        count = max(1, self.most_details // len(self.series))
        if len(self.loads) <= count:
            return list(self.loads)
        if count == 1:
            return [self.loads[-1]]
        last = len(self.loads) - 1
        return [self.loads[round(place * last / (count - 1))] for place in range(count)]


def figure(report: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """What stands in a report under those keys, one inside the other."""
    found: Any = report
    for key in path:
        found = found[key]
    return None if found is None else float(found)


def over(values: Sequence[float | None]) -> Over | None:
    """Mean and sample standard deviation of those that are; None where none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Over(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def _fleets(files: Sequence[Path]) -> dict[Path, str]:
    """File names where they tell fleets apart, else whole paths."""
    distinct = dict.fromkeys(files)
    stems = [file.stem for file in distinct]
    return {file: file.stem if stems.count(file.stem) == 1 else str(file) for file in distinct}


def _load(point: Point) -> str:
    rate = "" if point.rate_per_s is None else f"{point.rate_per_s:g} requests/s asked for"
    scale = f"rate scale {point.rate_scale:g}" if point.rate_scale != 1 or not rate else ""
    return ", ".join(part for part in (rate, scale) if part)
