"""Request traces as files: ours and those of their publishers, read row by row, gzip or not.

A row that is not as expected ends the reading with an error that names its line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from loadgen.row import BLOCK_TOKENS, Row, TraceError, chained
from loadgen.trace_csv import CsvTrace
from loadgen.trace_file import opened
from loadgen.trace_jsonl import JsonlTrace

__all__ = ["BLOCK_TOKENS", "Row", "TraceError", "chained", "has_arrivals", "lengths", "rows", "window"]


def rows(path: Path) -> Iterator[Row]:
    """The rows of a trace with arrivals, in order of arrival."""
    with opened(path) as file:
        trace = JsonlTrace.of(file) or CsvTrace.of(file)
        if not trace.timed:
            raise TraceError(f"{path}:1: no {trace.arrival}; this file holds lengths only, add --rate to make arrivals")
        yield from trace.rows(timed=True)


def lengths(path: Path) -> Iterator[Row]:
    """The rows of a trace with or without arrivals, all at second 0: for arrivals made elsewhere."""
    with opened(path) as file:
        yield from (JsonlTrace.of(file) or CsvTrace.of(file)).rows(timed=False)


def has_arrivals(path: Path) -> bool:
    """Whether the file says when its requests came."""
    with opened(path) as file:
        return (JsonlTrace.of(file) or CsvTrace.of(file)).timed


def window(
    source: Iterable[Row], start_s: float = 0.0, duration_s: float = math.inf, rate_scale: float = 1.0
) -> Iterator[Row]:
    """Rows from `start_s` of the trace's own time on, sped up by `rate_scale`, for `duration_s` of the replay."""
    as_it_is = start_s == 0 and rate_scale == 1
    for row in source:
        if row.arrival_s < start_s:
            continue
        arrival_s = (row.arrival_s - start_s) / rate_scale
        if arrival_s >= duration_s:
            return
        if as_it_is:
            yield row
        else:
            yield Row(row.index, arrival_s, row.input_tokens, row.output_tokens, row.hash_ids, row.client)
