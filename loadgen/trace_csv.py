"""Traces in CSV: our own columns, and those of the Azure and BurstGPT data sets as they are published."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from loadgen.row import BLOCK_TOKENS, Row, TraceError, blocks
from loadgen.trace_file import TraceFile

MOST_TOKENS, LATEST_S, ID_DIGITS = 10**9, 1e9, 20
"""Sanity bounds: a larger figure is a damaged file, or seconds of a calendar instead of seconds since the start."""
_ID_END = 10**ID_DIGITS

EXPECTED = (
    "[arrival_s,]input_tokens,output_tokens[,hash_ids][,client], or the header of the Azure LLM inference or BurstGPT "
    "files, or JSON lines with our names or Mooncake's"
)


Clock = Callable[[str], float]
"""Reads the times of one file, row after row; raises ValueError for what is none."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Whose columns these are.

    Attributes:
        ignored: columns that may be there and are not read.
        clock: makes the reader of one file's times, which gives seconds since the start.
        seconds: what a time should be, for people.
        published: written by others. Rows with 0 tokens are requests that failed and are left out, and the last line
            may lack its end (Azure's do); in our own files both are damage.
    """

    arrival: str
    input: str
    output: str
    hash_ids: str = ""
    client: str = ""
    ignored: frozenset[str] = frozenset()
    clock: Callable[[], Clock] = lambda: float
    seconds: str = f"seconds since the start, 0 to {LATEST_S:g}"
    published: bool = False

    def fits(self, names: set[str]) -> bool:
        """Whether a header with these names is of this layout; times may be missing in our own only."""
        needed = {self.input, self.output} | ({self.arrival} if self.published else set())
        return needed <= names <= needed | {self.arrival, self.hash_ids, self.client} | self.ignored


class SinceFirst:
    """Numbers, counted from the first: BurstGPT's second part starts 60 days late."""

    def __init__(self) -> None:
        self._first_s: float | None = None

    def __call__(self, cell: str) -> float:
        now_s = float(cell)
        if self._first_s is None:
            self._first_s = now_s
        return now_s - self._first_s


class WallClock:
    """Reads `2023-11-16 18:17:03.9799600`, with or without an offset from UTC, counted from the first.

    Minutes are counted apart from their seconds: seconds since 1970 would leave a float no room for the last digits.
    """

    _PATTERN = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d):(\d\d(?:\.\d+)?)(Z|[+-]\d\d:?\d\d)?")

    def __init__(self) -> None:
        self._first: tuple[datetime, float, str | None] | None = None
        self._minute, self._minute_s = "", 0.0

    def __call__(self, cell: str) -> float:
        found = self._PATTERN.fullmatch(cell)
        if found is None:
            raise ValueError(cell)
        minute, seconds, offset = found.groups()
        if self._first is None:
            self._first = datetime.fromisoformat(minute), float(seconds), offset
        start, start_s, start_offset = self._first
        if offset != start_offset:
            raise ValueError(cell)
        if minute != self._minute:
            self._minute, self._minute_s = minute, (datetime.fromisoformat(minute) - start).total_seconds()
        return self._minute_s + (float(seconds) - start_s)


OURS = Layout("arrival_s", "input_tokens", "output_tokens", "hash_ids", "client")
AZURE = Layout(
    *("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    clock=WallClock,
    seconds="a time such as 2023-11-16 18:17:03.9799600, all with the same offset from UTC",
    published=True,
)
BURSTGPT = Layout(
    *("Timestamp", "Request tokens", "Response tokens"),
    client="Session ID",
    ignored=frozenset({"Elapsed time", "Model", "Total tokens", "Log Type"}),
    clock=SinceFirst,
    published=True,
)
LAYOUTS = (OURS, AZURE, BURSTGPT)


@dataclass(slots=True, eq=False)
class CsvTrace:
    """One open file and where its columns are; -1 for one it lacks."""

    file: TraceFile
    layout: Layout
    width: int
    at: int
    input_at: int
    output_at: int
    ids_at: int
    client_at: int

    @classmethod
    def of(cls, file: TraceFile) -> CsvTrace:
        """Raises TraceError when the first line is the header of no layout."""
        header = [name.strip() for name in next(csv.reader([file.head], strict=True))]
        layout = next((layout for layout in LAYOUTS if layout.fits(set(header))), None)
        if file.head.startswith("version https://git-lfs"):
            raise file.error("a Git LFS pointer, not the file itself; expected the file: git lfs pull, or download it")
        if layout is None or len(set(header)) < len(header):
            raise file.error(f"header {','.join(header)[:100]!r}; expected {EXPECTED}")
        names = (layout.arrival, layout.input, layout.output, layout.hash_ids, layout.client)
        return cls(file, layout, len(header), *(header.index(name) if name in header else -1 for name in names))

    @property
    def timed(self) -> bool:
        """Whether there is a column of times."""
        return self.at >= 0

    @property
    def arrival(self) -> str:
        """What holds the times, for people."""
        return f"column {self.layout.arrival}"

    def rows(self, timed: bool) -> Iterator[Row]:
        """Checked rows. The checks are inline, for a million rows must not take longer than their simulation.

        Whatever they refuse is looked at again by `_problem`, which knows what to say.
        """
        reader = csv.reader(self.file.lines, strict=True)
        self.file.line = lambda: reader.line_num + 1
        clock, width, input_at, output_at = self.layout.clock(), self.width, self.input_at, self.output_at
        at, ids_at, client_at = self.at if timed else -1, self.ids_at, self.client_at
        index, arrival_s, last_s = 0, 0.0, 0.0
        ids: tuple[int, ...] = ()
        client = ""
        for cells in reader:
            try:
                prompt, answer = cells[input_at], cells[output_at]
                input_tokens, output_tokens = int(prompt), int(answer)
                if at >= 0:
                    arrival_s = clock(cells[at])
                sound = (
                    len(cells) == width
                    and 0 < input_tokens <= MOST_TOKENS
                    and 0 < output_tokens <= MOST_TOKENS
                    and last_s <= arrival_s <= LATEST_S
                    and (prompt + answer).isdigit()
                )
            except (ValueError, IndexError):
                sound = False
            if not sound:
                if not cells or self._failed(cells):
                    continue
                raise self._problem(cells, clock if at >= 0 else None, last_s)
            if ids_at >= 0:
                ids = self._hash_ids(cells[ids_at], input_tokens)
            if client_at >= 0:
                client = cells[client_at]
            yield Row(index, arrival_s, input_tokens, output_tokens, ids, client)
            index, last_s = index + 1, arrival_s
        self._check_end(index)

    def _check_end(self, rows: int) -> None:
        if not rows:
            raise TraceError(f"{self.file.path}: no rows; expected at least one request below the header")
        if not self.layout.published and not self.file.ended:
            raise self.file.error("the file stops inside this line; expected a line end, so copy the file again")

    def _failed(self, cells: list[str]) -> bool:
        """Whether a publisher says with 0 tokens that this request failed."""
        if not self.layout.published or len(cells) != self.width:
            return False
        counts = [cells[self.input_at], cells[self.output_at]]
        return "0" in counts and all(map(_is_count, counts))

    def _problem(self, cells: list[str], clock: Clock | None, last_s: float) -> TraceError:
        """What is wrong with a row; `clock` where its time counts."""
        layout, error = self.layout, self.file.error
        if len(cells) != self.width:
            return error(f"{len(cells)} columns; expected {self.width} as in the header")
        if clock is not None:
            arrival_s = _read(clock, cells[self.at])
            if not arrival_s <= LATEST_S or (arrival_s < 0 and layout is OURS):
                return error(f"{layout.arrival} {cells[self.at][:40]!r}; expected {layout.seconds}")
            if arrival_s < last_s:
                return error(f"{layout.arrival} {arrival_s} is before {last_s}; expected rows in order of arrival")
        for name, at in ((layout.input, self.input_at), (layout.output, self.output_at)):
            if not _is_count(cells[at]) or not 0 < int(cells[at]) <= MOST_TOKENS:
                return error(f"{name} {cells[at][:40]!r}; expected a whole number of tokens, 1 to {MOST_TOKENS}")
        return error(f"row {','.join(cells)[:100]!r}; expected plain numbers")

    def _hash_ids(self, cell: str, input_tokens: int) -> tuple[int, ...]:
        words = cell.split()
        if not words:
            return ()
        try:
            ids = tuple(map(int, words)) if "".join(words).isdigit() else ()
        except ValueError:  # thousands of digits, or digits of superscripts
            ids = ()
        if not ids or max(ids) >= _ID_END:
            raise self.file.error(
                f"hash_ids {cell[:60]!r}; expected whole numbers of up to {ID_DIGITS} digits, spaces between"
            )
        if len(words) != blocks(input_tokens):
            raise self.file.error(
                f"{len(words)} hash_ids for {input_tokens} input_tokens; "
                f"expected one per {BLOCK_TOKENS} tokens, {blocks(input_tokens)}"
            )
        return ids


def _is_count(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) <= ID_DIGITS


def _read(clock: Clock, cell: str) -> float:
    """NaN where the cell is no time."""
    try:
        return clock(cell)
    except ValueError:
        return math.nan
