"""Writes rows as a trace file of ours."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loadgen.finding import Finding
from loadgen.row import Row

HEADER = ("arrival_s", "input_tokens", "output_tokens", "hash_ids", "client")


def write(path: Path, rows: Iterable[Row]) -> int:
    """How many rows were written. A name that ends in .gz is zipped; the same rows make the same bytes.

    The file appears when it is whole: it may be the one the rows are read from, and if these end badly, or there are
    none, what was there before stays.
    """
    written, part = 0, path.with_name(f".{path.name}.part")
    try:
        with _created(path, part) as text:
            table = csv.writer(text, lineterminator="\n")
            table.writerow(HEADER)
            for written, row in enumerate(rows, start=1):  # noqa: B007 (returned)
                ids = " ".join(map(str, row.hash_ids))
                table.writerow((row.arrival_s, row.input_tokens, row.output_tokens, ids, row.client))
        if written:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return written


@contextmanager
def _created(path: Path, part: Path) -> Iterator[io.TextIOBase]:
    try:
        raw = part.open("wb")
    except OSError as error:
        raise Finding(f"{path}: cannot write the trace: {error.strerror}") from None
    with raw:
        if path.suffix != ".gz":
            with io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:
                yield text
            return
        zipped = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
        with io.TextIOWrapper(zipped, encoding="utf-8", newline="") as text:
            yield text
