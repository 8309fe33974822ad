"""`tokenyard devices validate`: how far predictions are from measurements the fit has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands import options
from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devices.calibration.validation import Line, Table
    from devices.fits.measurements import EngineRun, Measurement, RequestTimes

EXAMPLES = """Examples:

tokenyard devices validate iteration_times.csv.gz

tokenyard devices validate closed_loops.csv.gz --json | jq .overall.tpot

tokenyard devices validate vllm_per_request.csv.gz --runs vllm_per_request_runs.csv
"""


def validate(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Iteration times, closed-loop runs or requests of runs, CSV or gzip."),
    ],
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Limits of replayed runs; DATA with _runs before .csv by default.")
    ] = None,
    groups: Annotated[bool, typer.Option("--groups", help="Every group, the worst first.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Each row is predicted without any row of the same model on the same system, in DATA or in the shipped fits.

    Requests of a run are replayed through the simulated worker, fitted to its first 150.
    """
    options.one_thread()
    from devices.calibration.measured_files import read
    from devices.calibration.reference import reference
    from devices.calibration.validation import validated
    from devices.fits.measurements import EndToEnd, Iteration, RequestTimes
    from loadgen.commands import say
    from loadgen.finding import Misuse

    unknown: list[str] = []
    rows = read(data, unknown)
    if unknown:
        say.complain(f"{len(unknown)} rows of {data} are left out, the first: {unknown[0]}")
    requests = [row for row in rows if isinstance(row, RequestTimes)]
    if requests:
        _replays(requests, _runs(runs or _beside(data)), seed, as_json)
    elif any(isinstance(row, Iteration | EndToEnd) for row in rows):
        table = validated(rows, reference(), seed, say.progress)
        if as_json:
            say.answer_json(table.plain())
        else:
            _show(table, groups)
    else:
        raise Misuse(f"{data}: {_kind(rows)} cannot be validated; iteration times, closed-loop runs and requests can")


def _kind(rows: Sequence[Measurement]) -> str:
    return f"rows of {type(rows[0]).__name__}" if rows else "a file without rows"


def _beside(data: Path) -> Path:
    """requests.csv.gz -> requests_runs.csv, which is short and comes plain."""
    return data.with_name(f"{data.name.removesuffix('.gz').removesuffix('.csv')}_runs.csv")


def _runs(path: Path) -> dict[str, EngineRun]:
    from devices.calibration.measured_files import read
    from devices.fits.measurements import EngineRun

    return {row.run: row for row in read(path) if isinstance(row, EngineRun)}


def _replays(requests: Sequence[RequestTimes], runs: dict[str, EngineRun], seed: int, as_json: bool) -> None:
    from devices.calibration.replay import QUANTITIES, replays
    from loadgen.commands import say
    from loadgen.finding import Misuse

    names = sorted({request.run for request in requests})
    if unknown := [name for name in names if name not in runs]:
        raise Misuse(f"no limits for run '{unknown[0]}'; known: {', '.join(sorted(runs)) or 'none'}")
    report = replays([(runs[name], [r for r in requests if r.run == name]) for name in names], seed, say.progress)
    if as_json:
        say.answer_json(report.plain())
        return
    columns = ("run", "requests", *(f"{q} {what} %" for q in QUANTITIES for what in ("mean", "p99", "each")))
    say.table(
        columns,
        [
            (
                run.run,
                run.rows,
                *(100 * x for q in QUANTITIES for x in (run.mean[q], run.p99[q], run.each[q].median_abs)),
            )
            for run in report.runs
        ],
    )


def _show(table: Table, groups: bool) -> None:
    from loadgen.commands import say

    quantities = tuple(table.overall.scores)
    columns = ("", "rows", *(f"{q} {what}" for q in quantities for what in ("median %", "sure %", "p90 %", "signed %")))
    for title, lines in (
        ("", [table.overall, table.declared, table.undeclared, table.prior]),
        ("by kind", table.by_kind),
        ("by device", table.by_device),
        ("by engine", table.by_engine),
        *((("by group, the worst first", _worst(table.by_group)),) if groups else ()),
    ):
        say.table(columns, [_cells(line, quantities) for line in lines if line.rows], title)


def _cells(line: Line, quantities: Sequence[str]) -> tuple[object, ...]:
    cells: list[object] = [line.name, line.rows]
    for quantity in quantities:
        score = line.scores.get(quantity)
        if score is None:
            cells += [None] * 4
            continue
        low, high = score.interval
        signed = f"{score.median_signed * 100:+.1f}"
        cells += [round(score.median_abs * 100, 1), f"{low * 100:.1f} to {high * 100:.1f}"]
        cells += [round(score.p90_abs * 100, 1), signed]
    return tuple(cells)


def _worst(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: -max((score.median_abs for score in line.scores.values()), default=0.0))
