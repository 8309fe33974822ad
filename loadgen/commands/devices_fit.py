"""`tokenyard devices fit`: fits the iteration model to published or own measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands import options
from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from devices.fits.fit_file import FitFile

EXAMPLES = """Examples:

tokenyard devices fit iteration_times.csv.gz

tokenyard devices fit closed_loops.csv --out fits --json
"""


def fit(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Iteration times or closed-loop runs, CSV or gzip.")],
    out: Annotated[Path, typer.Option("--out", help="Folder the fits are written to.")] = Path("fits"),
    made: Annotated[str | None, typer.Option("--made", help="The date the fits carry; today.")] = None,
    as_json: AsJson = False,
) -> None:
    """Relative least squares, all systems together; each group's error on rows seen and on rows left out."""
    options.one_thread()
    from datetime import UTC, datetime

    from devices.calibration.fitting import fits
    from devices.calibration.measured_files import read
    from devices.fits.fit_file import to_yaml
    from loadgen.commands import say
    from loadgen.finding import Finding, Misuse

    rows = read(data)
    found = fits(rows, made or datetime.now(UTC).date().isoformat(), say.progress)
    if not found:
        raise Misuse(f"{data}: nothing to fit in it; expected iteration times or closed-loop runs with their workers")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, file in found.items():
            (out / name).write_text(to_yaml(file), encoding="utf-8")
    except OSError as error:
        raise Finding(f"{out}: cannot be written: {error.strerror}") from None
    _show(found, out, as_json)


def _show(found: dict[str, FitFile], out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from loadgen.commands import say

    if as_json:
        say.answer_json(
            {
                file.quantity: {
                    "file": str(out / name),
                    "rows": file.rows,
                    "groups": {group: asdict(error) for group, error in file.groups.items()},
                }
                for name, file in found.items()
            }
        )
        return
    for name, file in found.items():
        rows = [
            (group, error.rows, *_percents(error.seen), *_percents(error.held)) for group, error in file.groups.items()
        ]
        say.table(("group", "rows", "seen %", "p90 %", "left out %", "p90 %"), rows, f"{out / name}: {file.rows} rows")


def _percents(errors: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if errors is None else (errors[0] * 100, errors[1] * 100)
