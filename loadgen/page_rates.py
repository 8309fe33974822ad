"""The overview of a page: figures against offered rate, or as bars where there is one load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.page_runs import Over, PageRun, PageRuns, figure, over
from loadgen.plots import Panel, Text, count_text, log_ticks, rounded_up, seconds_text, share_text, usd_text
from loadgen.plots_bars import Bar, bars

_WIDE = 12.0
"""Figures further apart than this many times are drawn on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """What is plotted: where it stands in a report, and how it is written. `ratio` may need a logarithmic axis."""

    title: str
    path: tuple[str, ...]
    text: Text
    share: bool = False
    ratio: bool = True

    def over(self, cell: Sequence[PageRun]) -> Over | None:
        return over([figure(run.report, self.path) for run in cell])


_FIGURES = (
    _Figure("Promise kept, share of requests", ("slo_attainment",), share_text, share=True, ratio=False),
    _Figure("Goodput, requests/s that kept their promise", ("goodput_rps",), count_text, ratio=False),
    _Figure("USD per million good tokens", ("usd_per_mtok_good",), usd_text),
    _Figure("TTFT, 99th percentile", ("ttft_s", "p99"), seconds_text),
    _Figure("TPOT, 99th percentile", ("tpot_s", "p99"), seconds_text),
    _Figure("E2E, 99th percentile", ("e2e_s", "p99"), seconds_text),
)


def one_load(runs: PageRuns) -> list[str]:
    """Bars."""
    [load] = runs.loads
    made = []
    for of in _FIGURES:
        found = [of.over(runs.cell(load, number)) for number in range(len(runs.series))]
        drawn = [
            Bar(runs.name(number), number, one.mean if one else None, one.sd if one else None)
            for number, one in enumerate(found)
        ]
        made.append(bars(of.title, drawn, of.text))
    return made


def over_rates(runs: PageRuns) -> list[str]:
    """Lines, one per series."""
    return [_panel(runs, of).svg() for of in _FIGURES]


def _panel(runs: PageRuns, of: _Figure) -> Panel:
    lines = [_line(runs, of, number) for number in range(len(runs.series))]
    values = [one.mean + sign * (one.sd or 0) for line in lines for _, one in line for sign in (-1, 1)]
    means = [one.mean for line in lines for _, one in line]
    offered = [runs.offered_rps(load) for load in runs.loads]
    log_y = of.ratio and bool(means) and min(means) > 0 and max(means) / min(means) > _WIDE
    panel = Panel.of(
        of.title,
        (0.0, rounded_up(max(offered))),
        _log_domain(means) if log_y else _domain(values, of.share),
        "offered requests/s",
        count_text,
        of.text,
        log_y=log_y,
    )
    if of.path == ("goodput_rps",):
        panel.guide([(0.0, 0.0), (top := min(panel.x.domain[1], panel.y.domain[1]), top)], "every request offered")
    for number, line in enumerate(lines):
        if any(one.sd for _, one in line):
            low, high = ([(x, one.mean + sign * (one.sd or 0)) for x, one in line] for sign in (-1, 1))
            panel.band(low, high, number)
        panel.line([(x, one.mean) for x, one in line], number, runs.name(number), marks=True)
    return panel


def _line(runs: PageRuns, of: _Figure, number: int) -> list[tuple[float, Over]]:
    """By offered rate; loads without that figure are left out."""
    found = []
    for load in runs.loads:
        cell = runs.cell(load, number)
        mean, offered = of.over(cell), over([run.report["offered_rps"] for run in cell])
        if mean is not None and offered is not None:
            found.append((offered.mean, mean))
    return sorted(found, key=lambda point: point[0])


def _domain(values: Sequence[float], share: bool) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    if not share:
        return 0.0, rounded_up(max(values))
    low = min(values)
    return next((floor for floor in (0.99, 0.95, 0.9, 0.8, 0.5) if low >= floor), 0.0), 1.0


def _log_domain(values: Sequence[float]) -> tuple[float, float]:
    return log_ticks(min(values) / 10, min(values) / 1.05)[-1], log_ticks(max(values) * 1.05, max(values) * 10)[0]
