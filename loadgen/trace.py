"""Request traces: CSV, gzip or not, read row by row. A row that is not as expected ends the reading with an error."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BLOCK_TOKENS = 512
"""Tokens behind one of a trace's `hash_ids` (Mooncake's block; the last block of a prompt may be partly filled)."""

MOST_TOKENS, LATEST_S, ID_DIGITS = 10**9, 1e9, 20
"""Sanity bounds: a larger figure is a damaged file, or seconds of a calendar instead of seconds since the start."""

_ARRIVAL, _LENGTHS, _OPTIONAL = "arrival_s", ("input_tokens", "output_tokens"), ("hash_ids", "client")


class TraceError(ValueError):
    """`file:line: what, expected what`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a workload.

    Attributes:
        index: position in the file or stream, from 0; makes ids, texts and class draws repeatable.
        arrival_s: seconds since the start of the workload.
        output_tokens: the true length: known to engines, never to a policy.
        hash_ids: one id per 512 prompt tokens; equal leading ids are equal leading text. Empty if unknown.
        client: the trace's own name of the sender, empty if unknown.
    """

    index: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    client: str = ""


def rows(path: Path) -> Iterator[Row]:
    """The rows of a trace with arrivals, in order of arrival."""
    with _table(path) as (columns, lines, where):
        if _ARRIVAL not in columns:
            raise TraceError(
                f"{path}:1: no column arrival_s; this file holds lengths only, add --rate to make arrivals"
            )
        last_s = 0.0
        for index, cells in enumerate(lines):
            arrival_s = _seconds(cells[columns[_ARRIVAL]], where)
            if arrival_s < last_s:
                raise TraceError(
                    f"{where()}: arrival_s {arrival_s} is before {last_s}; expected rows in order of arrival"
                )
            last_s = arrival_s
            yield _row(index, arrival_s, cells, columns, where)


def lengths(path: Path) -> Iterator[Row]:
    """The rows of a trace with or without arrivals, all at second 0: for arrivals made elsewhere."""
    with _table(path) as (columns, lines, where):
        for index, cells in enumerate(lines):
            yield _row(index, 0.0, cells, columns, where)


def has_arrivals(path: Path) -> bool:
    """Whether the file says when its requests came."""
    with _table(path) as (columns, _, _):
        return _ARRIVAL in columns


def window(
    source: Iterator[Row], start_s: float = 0.0, duration_s: float = math.inf, rate_scale: float = 1.0
) -> Iterator[Row]:
    """Rows from `start_s` of the trace's own time on, sped up by `rate_scale`, for `duration_s` of the replay."""
    for row in source:
        if row.arrival_s < start_s:
            continue
        arrival_s = (row.arrival_s - start_s) / rate_scale
        if arrival_s >= duration_s:
            return
        yield Row(row.index, arrival_s, row.input_tokens, row.output_tokens, row.hash_ids, row.client)


_Table = tuple[dict[str, int], Iterator[list[str]], Callable[[], str]]


@contextmanager
def _table(path: Path) -> Iterator[_Table]:
    """Column positions, the non-empty data lines, and where the reader is now as `file:line`."""
    try:
        with _opened(path) as text:
            reader = csv.reader(text, strict=True)
            header = next(reader, None)
            if header is None:
                raise TraceError(f"{path}: empty file; expected a header arrival_s,input_tokens,output_tokens")
            columns = _columns(path, header)

            def where() -> str:
                return f"{path}:{reader.line_num}"

            yield columns, _lines(path, reader, len(header)), where
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise TraceError(f"{path}: damaged gzip data ({error}); copy the file again") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: not a CSV text file ({error})") from error


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOBase]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        binary = gzip.GzipFile(fileobj=raw) if zipped else raw
        with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
            yield text


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    columns = {name.strip(): position for position, name in enumerate(header)}
    known = {_ARRIVAL, *_LENGTHS, *_OPTIONAL}
    missing = [name for name in _LENGTHS if name not in columns]
    if missing or not columns.keys() <= known or len(columns) < len(header):
        raise TraceError(
            f"{path}:1: header {','.join(header)[:100]!r}; expected "
            f"[arrival_s,]input_tokens,output_tokens[,hash_ids][,client]"
        )
    return columns


def _lines(path: Path, reader: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    empty = True
    for cells in reader:
        if not cells:
            continue
        if len(cells) != width:
            line = reader.line_num  # type: ignore[attr-defined]
            raise TraceError(f"{path}:{line}: {len(cells)} columns; expected {width} as in the header")
        empty = False
        yield cells
    if empty:
        raise TraceError(f"{path}: no rows; expected at least one request below the header")


def _row(index: int, arrival_s: float, cells: list[str], columns: dict[str, int], where: Callable[[], str]) -> Row:
    input_tokens = _tokens(cells, columns, "input_tokens", where)
    output_tokens = _tokens(cells, columns, "output_tokens", where)
    position = columns.get("hash_ids")
    hash_ids = () if position is None else _hash_ids(cells[position], input_tokens, where)
    position = columns.get("client")
    return Row(index, arrival_s, input_tokens, output_tokens, hash_ids, "" if position is None else cells[position])


def _seconds(cell: str, where: Callable[[], str]) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LATEST_S:
        shown = cell[:40]
        raise TraceError(f"{where()}: arrival_s {shown!r}; expected seconds since the start, 0 to {LATEST_S:g}")
    return value


def _tokens(cells: list[str], columns: dict[str, int], name: str, where: Callable[[], str]) -> int:
    cell = cells[columns[name]]
    if not (cell.isascii() and cell.isdigit() and len(cell) <= ID_DIGITS and 0 < int(cell) <= MOST_TOKENS):
        raise TraceError(f"{where()}: {name} {cell[:40]!r}; expected a whole number of tokens, 1 to {MOST_TOKENS}")
    return int(cell)


def _hash_ids(cell: str, input_tokens: int, where: Callable[[], str]) -> tuple[int, ...]:
    words = cell.split()
    if not words:
        return ()
    if not all(word.isascii() and word.isdigit() and len(word) <= ID_DIGITS for word in words):
        raise TraceError(
            f"{where()}: hash_ids {cell[:60]!r}; expected whole numbers of up to {ID_DIGITS} digits, spaces between"
        )
    if len(words) != -(-input_tokens // BLOCK_TOKENS):
        raise TraceError(
            f"{where()}: {len(words)} hash_ids for {input_tokens} input_tokens; "
            f"expected one per {BLOCK_TOKENS} tokens, {-(-input_tokens // BLOCK_TOKENS)}"
        )
    return tuple(map(int, words))
