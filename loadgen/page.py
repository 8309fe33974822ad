"""The report as one self-contained page: no script, no network; readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from loadgen.page_loads import load_section
from loadgen.page_rates import one_load, over_rates
from loadgen.page_runs import PageRuns
from loadgen.page_tables import runs_table, summary_table
from loadgen.plots import COLOURS, DASHES, MARKS

MOST_LINES = 400
"""Runs of which each gets a line, about 1 KB."""


def page(runs: PageRuns, command: str) -> str:
    """The same runs, the same bytes."""
    seeds = len({run.seed for run in runs.runs})
    overview = over_rates(runs) if len(runs.loads) > 1 else one_load(runs)
    detailed = runs.detailed()
    body = [
        f"<h1>{escape(_title(runs))}</h1>",
        f"<p>{escape(_subtitle(runs, seeds))}</p>",
        f"<pre>{escape(command)}</pre>",
        _legend(runs) if len(runs.series) > 1 or len(runs.loads) > 1 else "",
        f"<h2>{'Against offered rate' if len(runs.loads) > 1 else 'Promises and money'}</h2>",
        f"<p>{_SPREAD if seeds > 1 else ''}{_GOOD}{'' if _promised(runs) else _NO_PROMISE}</p>",
        f'<div class="panels">{"".join(overview)}</div>',
        *_details(runs, detailed),
        "<h2>All figures</h2>",
        summary_table(runs) if seeds > 1 else "",
        runs_table(runs) if len(runs.runs) <= MOST_LINES else f"<p>{len(runs.runs):,} runs are in the JSON report.</p>",
    ]
    style = files("loadgen").joinpath("data/page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(_title(runs))}</title><style>{style}</style></head><body>{''.join(body)}</body></html>\n"
    )


_SPREAD = "Lines and bars are means over seeds; bands and whiskers one standard deviation. "
_GOOD = (
    "A request counts as good when it kept every promise of its class: TTFT is seconds to the first token, "
    "TPOT seconds per further token. USD is the rent of the whole fleet for the whole run, and what APIs charge."
)
_NO_PROMISE = " Nothing was promised here, so every whole answer is good."


def _promised(runs: PageRuns) -> bool:
    """Whether any class had a promise."""
    figures = [run.figures for run in runs.runs if run.figures is not None]
    return any(curve.promises_s for one in figures for curves in one.curves.values() for curve in curves.values())


def _title(runs: PageRuns) -> str:
    policies = list(dict.fromkeys(policy for _, policy in runs.series))
    named = ", ".join(policies) if len(policies) <= 4 else f"{len(policies)} policies"
    return f"{named} on {', '.join(dict.fromkeys(fleet for fleet, _ in runs.series))}"


def _subtitle(runs: PageRuns, seeds: int) -> str:
    requests = sum(run.report["requests"] for run in runs.runs)
    counted = (
        (len(runs.runs), "run"),
        (len(runs.loads), "load"),
        (seeds, "seed"),
        (requests, "request"),
    )
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counted)


def _legend(runs: PageRuns) -> str:
    return f'<ul class="legend">{"".join(_key(number, runs.name(number)) for number in range(len(runs.series)))}</ul>'


def _key(number: int, name: str) -> str:
    dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if number % len(DASHES) else ""
    return (
        f'<li><svg viewBox="0 0 34 12"><path class="line s{number % COLOURS}"{dash} d="M0 6h34"/>'
        f'<path class="f{number % COLOURS}" transform="translate(17 6)" d="{MARKS[number % len(MARKS)]}"/></svg>'
        f"{escape(name)}</li>"
    )


def _details(runs: PageRuns, detailed: Sequence[str]) -> Iterable[str]:
    yield "<h2>Under each load</h2>" if len(detailed) > 1 else "<h2>Distributions and flows</h2>"
    if len(detailed) < len(runs.loads):
        yield f"<p>Drawn here: {len(detailed)} of {len(runs.loads)} loads. The table below has all.</p>"
    for load in detailed:
        heading = f"{runs.offered_rps(load):.4g} requests/s offered" + (f" ({load})" if len(runs.loads) > 1 else "")
        if len(drawn := runs.cell(load, 0)) > 1:
            heading += f"; seed {drawn[0].seed} is drawn"
        opened = ' open=""' if load == detailed[-1] else ""
        yield f"<details{opened}><summary>{escape(heading)}</summary>{load_section(runs, load)}</details>"
