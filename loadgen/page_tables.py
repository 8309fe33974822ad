"""The tables of a page: every run, and what classes and pools did in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from loadgen.page_runs import PageRun, PageRuns, figure, over
from loadgen.plots import Text, count_text, seconds_text, share_text, spread_text, usd_text

Column = tuple[str, Callable[[dict[str, Any]], object]]
_WORDS = 2
"""Leading columns that hold names."""


def runs_table(runs: PageRuns) -> str:
    """One line per run, every figure of its report that is not by class or pool."""
    lines = [
        [run.load, runs.name(runs.series.index((run.fleet, run.policy))), run.seed, *_figures(run)] for run in runs.runs
    ]
    return table(("load", "policy", "seed", *(name for name, _ in _RUN)), lines)


def summary_table(runs: PageRuns) -> str:
    """One line per load and series: mean and standard deviation over seeds."""
    lines = []
    for load in runs.loads:
        for number in range(len(runs.series)):
            reports = [run.report for run in runs.cell(load, number)]
            if reports:
                lines.append([load, runs.name(number), len(reports), *(of(reports) for _, of in _SUMMARY)])
    return table(("load", "policy", "seeds", *(name for name, _ in _SUMMARY)), lines)


def class_table(runs: PageRuns, shown: Sequence[PageRun]) -> str:
    """Each class under each policy."""
    lines = [
        [name, _name(runs, run), *(of(line) for _, of in _CLASS)]
        for run in shown
        for name, line in run.report["by_class"].items()
    ]
    return table(("class", "policy", *(name for name, _ in _CLASS)), sorted(lines, key=lambda line: str(line[0])))


def pool_table(runs: PageRuns, shown: Sequence[PageRun]) -> str:
    """Each pool under each policy."""
    lines = [
        [name, _name(runs, run), *(of(line) for _, of in _POOL)]
        for run in shown
        for name, line in run.report["by_pool"].items()
    ]
    return table(("pool", "policy", *(name for name, _ in _POOL)), lines)


def table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Names flush left, figures flush right."""
    heads = "".join(f"<th{_side(place)}>{escape(name)}</th>" for place, name in enumerate(head))
    rows = "".join(
        f"<tr>{''.join(f'<td{_side(place)}>{escape(_text(value))}</td>' for place, value in enumerate(line))}</tr>"
        for line in lines
    )
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _side(place: int) -> str:
    return ' class="name"' if place < _WORDS else ""


def _text(value: object) -> str:
    match value:
        case None:
            return "–"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _name(runs: PageRuns, run: PageRun) -> str:
    return runs.name(runs.series.index((run.fleet, run.policy)))


def _figures(run: PageRun) -> list[object]:
    return [of(run.report) for _, of in _RUN]


def _at(name: str) -> Column:
    return name, lambda line: line[name]


def _seconds(title: str, name: str, *shares: str) -> Column:
    def text(line: dict[str, Any]) -> object:
        values = [line[name][share] for share in shares]
        return None if None in values else " / ".join(map(seconds_text, values))

    return f"{title} {' / '.join(shares)}", text


def _attained(line: dict[str, Any]) -> object:
    return None if line["slo_attainment"] is None else share_text(line["slo_attainment"])


def _usd(title: str, of: Callable[[dict[str, Any]], float | None]) -> Column:
    def text(line: dict[str, Any]) -> object:
        value = of(line)
        return None if value is None else usd_text(value)

    return title, text


def _mean(title: str, text: Text, *path: str) -> tuple[str, Callable[[Sequence[dict[str, Any]]], object]]:
    def of(reports: Sequence[dict[str, Any]]) -> object:
        found = over([figure(report, path) for report in reports])
        return found and spread_text(found.mean, found.sd, text)

    return title, of


_SUMMARY = (
    _mean("offered req/s", count_text, "offered_rps"),
    _mean("promise kept", share_text, "slo_attainment"),
    _mean("good req/s", count_text, "goodput_rps"),
    _mean("TTFT p99", seconds_text, "ttft_s", "p99"),
    _mean("TPOT p99", seconds_text, "tpot_s", "p99"),
    _mean("E2E p99", seconds_text, "e2e_s", "p99"),
    _mean("USD per M good tokens", usd_text, "usd_per_mtok_good"),
)
_COUNTS = tuple(_at(name) for name in ("requests", "completed", "rejected", "failed", "cancelled"))
_RUN: tuple[Column, ...] = (
    ("offered req/s", lambda line: line["offered_rps"]),
    *_COUNTS,
    ("promise kept", _attained),
    ("good req/s", lambda line: line["goodput_rps"]),
    _seconds("TTFT", "ttft_s", "mean", "p50", "p90", "p99"),
    _seconds("TPOT", "tpot_s", "mean", "p50", "p90", "p99"),
    _seconds("ITL", "itl_s", "mean", "p50", "p90", "p99"),
    _seconds("E2E", "e2e_s", "mean", "p50", "p90", "p99"),
    ("tokens in", lambda line: line["prompt_tokens"]),
    ("from prefix cache", lambda line: line["prefix_hit_tokens"]),
    ("tokens out", lambda line: line["output_tokens"]),
    _usd("rent", lambda line: line["usd"]["rent"]),
    _usd("APIs", lambda line: line["usd"]["api"]),
    _usd("total", lambda line: line["usd"]["total"]),
    _usd("per M good tokens", lambda line: line["usd_per_mtok_good"]),
    ("MJ", lambda line: line["joules"] / 1e6),
    ("duration", lambda line: seconds_text(line["duration_s"])),
)
_CLASS: tuple[Column, ...] = (
    *_COUNTS,
    ("promise kept", _attained),
    ("good req/s", lambda line: line["goodput_rps"]),
    _seconds("TTFT", "ttft_s", "p50", "p90", "p99"),
    _seconds("TPOT", "tpot_s", "p50", "p90", "p99"),
    _seconds("E2E", "e2e_s", "p50", "p90", "p99"),
    ("tokens out", lambda line: line["output_tokens"]),
    ("good tokens", lambda line: line["good_tokens"]),
)
_POOL: tuple[Column, ...] = (
    ("workers", lambda line: line.get("workers")),
    ("vendor", lambda line: line.get("vendor")),
    ("prefills", lambda line: line["prefill_requests"]),
    ("decodes", lambda line: line["decode_requests"]),
    ("handed over", lambda line: line["handed_over"]),
    ("taken over", lambda line: line["taken_over"]),
    ("tokens in", lambda line: line["prompt_tokens"]),
    ("tokens out", lambda line: line["output_tokens"]),
    _usd("USD", lambda line: line["usd"]["total"] if "usd" in line else None),
)
