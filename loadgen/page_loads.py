"""One load in detail: distributions by class, tokens by pool over time, flows between pools, tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from loadgen.page_figures import Curve, Figures
from loadgen.page_runs import PageRun, PageRuns
from loadgen.page_tables import class_table, pool_table
from loadgen.plots import COLOURS, Panel, count_text, rounded_up, seconds_text, share_text
from loadgen.plots_flow import flow
from loadgen.spread import Floats

_TIMES = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("e2e_s", "E2E"))
_LEAST_S = 1e-6
_DECADES = 4.0
"""Of a logarithmic axis: what is faster than a ten-thousandth of the slowest is at its left edge."""


def load_section(runs: PageRuns, load: str) -> str:
    """Of the first seed of each series."""
    shown = [(number, cell[0]) for number in range(len(runs.series)) if (cell := runs.cell(load, number))]
    drawn = [(number, run, run.figures) for number, run in shown[: runs.most_details] if run.figures is not None]
    first = [run for _, run in shown]
    pools = list(dict.fromkeys(pool for _, _, figures in drawn for pool in figures.pools))
    return "".join(
        (
            "<h3>Distributions</h3>",
            f"<p>Drawn here: {len(drawn)} of {len(shown)} policies. The tables have all.</p>"
            * (len(drawn) < len(shown)),
            "<p>Share of requests that took no longer. Requests that never got there (rejected, failed) keep a curve "
            "from reaching 100%. The vertical line is what the class was promised.</p>",
            f'<div class="panels">{"".join(_distributions(runs, drawn))}</div>',
            "<h3>Tokens by pool, and where requests went</h3>",
            "<p>Prompts are counted when their first token came, in the pool that prefilled; answers while they were "
            "written, in the pool that decoded.</p>",
            _pool_legend(pools),
            *(_of_run(runs.name(number), figures, pools) for number, _, figures in drawn),
            "<h3>By class</h3>" + class_table(runs, first),
            "<h3>By pool</h3>" + pool_table(runs, first),
        )
    )


def _distributions(runs: PageRuns, drawn: Sequence[tuple[int, PageRun, Figures]]) -> list[str]:
    classes = sorted({name for _, _, figures in drawn for name in figures.curves})
    made = []
    for name in classes:
        for key, title in _TIMES:
            curves = [(number, figures.curves[name][key]) for number, _, figures in drawn if name in figures.curves]
            if any(curve.seconds for _, curve in curves):
                made.append(_distribution(runs, f"{title}, {name}", title, curves))
    return made


def _distribution(runs: PageRuns, title: str, x_label: str, curves: Sequence[tuple[int, Curve]]) -> str:
    promises = sorted({promise for _, curve in curves for promise in curve.promises_s})
    ends = [(max(curve.seconds[0], _LEAST_S), max(curve.seconds[-1], _LEAST_S)) for _, curve in curves if curve.seconds]
    high = max([high for _, high in ends] + promises) * 1.15
    low = max(min([low for low, _ in ends] + promises) / 1.15, high / 10**_DECADES)
    panel = Panel.of(title, (low, high), (0.0, 1.0), x_label, seconds_text, share_text, log_x=True)
    for promise in promises:
        panel.limit(promise, f"promised {seconds_text(promise)}")
    for number, curve in curves:
        if curve.seconds:
            shares = np.linspace(0.0, curve.share, len(curve.seconds))
            points = [(curve.seconds[0], 0.0), *zip(curve.seconds, shares.tolist(), strict=True)]
            panel.line(points, number, runs.name(number))
    return panel.svg()


def _of_run(name: str, figures: Figures, pools: Sequence[str]) -> str:
    stacks = (
        ("tokens in per second", figures.prompt_tokens_per_s),
        ("tokens out per second", figures.output_tokens_per_s),
    )
    panels = [_stack(f"{name}: {what}", heights, figures, pools) for what, heights in stacks]
    panels.append(flow(f"{name}: from prefill to decode, requests", *_in_order(figures, pools)))
    return f'<div class="panels">{"".join(panels)}</div>'


def _stack(title: str, heights: Floats, figures: Figures, pools: Sequence[str]) -> str:
    total = heights.sum(axis=0)
    end_s = figures.bin_s * heights.shape[1]
    top = rounded_up(float(total.max(initial=0.0)))
    panel = Panel.of(title, (0.0, end_s), (0.0, top), "time", seconds_text, count_text)
    edges_s = np.arange(heights.shape[1] + 1) * figures.bin_s
    for row in reversed(range(len(heights))):
        if heights[row].any():
            pool = figures.pools[row]
            panel.area(_steps(edges_s, heights[: row + 1].sum(axis=0)), pools.index(pool), pool)
    return panel.svg()


def _steps(edges_s: Floats, heights: Floats) -> list[tuple[float, float]]:
    """Flat over each bin."""
    return list(zip(np.repeat(edges_s, 2)[1:-1].tolist(), np.repeat(heights, 2).tolist(), strict=True))


def _in_order(figures: Figures, pools: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """The flow with the rows and columns of all `pools`, so that a pool has one colour on the whole page."""
    places = [figures.pools.index(pool) if pool in figures.pools else None for pool in pools]
    return list(pools), [[0 if i is None or j is None else figures.requests[i][j] for j in places] for i in places]


def _pool_legend(pools: Sequence[str]) -> str:
    keys = "".join(
        f'<li><svg viewBox="0 0 34 12"><rect class="p{number % COLOURS}" width="34" height="12"/></svg>'
        f"{escape(pool)}</li>"
        for number, pool in enumerate(pools)
    )
    return f'<ul class="legend">{keys}</ul>'
