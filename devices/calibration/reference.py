"""The measurements the shipped fits were fitted to: so that a validation can leave out what it is asked about."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from devices.calibration.measured_files import FORMATS, MeasurementError, read
from devices.fits.measurements import EndToEnd, Iteration, Measurement

POINTS = {"iteration.csv.gz": Iteration, "closed_loops.csv.gz": EndToEnd}
"""Files beside the fits, and what their rows are."""


def reference() -> list[Measurement]:
    """All of them."""
    found: list[Measurement] = []
    folder = resources.files("devices") / "catalog" / "fits"
    for name in POINTS:
        with resources.as_file(folder / name) as path:
            found += read(path)
    return found


def reduced(path: Path) -> bytes:
    """A measured file with only the columns that are read, equal rows once, gzipped the same way each time."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = _columns(path, list(rows[0]) if rows else [])
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_once(rows, columns))
    return gzip.compress(out.getvalue().encode(), mtime=0)


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    known = next((f for f in FORMATS if f.columns <= set(header)), None)
    if known is None:
        raise MeasurementError(f"{path}: not a known format")
    return [name for name in header if name in known.columns]


def _once(rows: Iterable[dict[str, str]], columns: Sequence[str]) -> list[dict[str, str]]:
    return list({tuple(row[name] for name in columns): row for row in rows}.values())
