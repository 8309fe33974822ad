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
    """How many rows were written. A name that ends in .gz is zipped; the same rows make the same bytes."""
    written = 0
    with _created(path) as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        for written, row in enumerate(rows, start=1):  # noqa: B007 (returned)
            ids = " ".join(map(str, row.hash_ids))
            table.writerow((row.arrival_s, row.input_tokens, row.output_tokens, ids, row.client))
    return written


@contextmanager
def _created(path: Path) -> Iterator[io.TextIOBase]:
    try:
        raw = path.open("wb")
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
