"""Traces in JSON lines: our own names, and those of the Mooncake traces as they are published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as joined
from typing import Any

import orjson

from loadgen.row import BLOCK_TOKENS, Row, blocks
from loadgen.trace_csv import LATEST_S, MOST_TOKENS
from loadgen.trace_file import TraceFile


@dataclass(frozen=True, slots=True)
class Names:
    """Whose names these are; `per_second` of its time units make a second."""

    arrival: str
    input: str
    output: str
    optional: frozenset[str]
    per_second: float
    unit: str

    @property
    def known(self) -> frozenset[str]:
        """Every name a line may hold."""
        return self.optional | {self.arrival, self.input, self.output}


OURS = Names(
    *("arrival_s", "input_tokens", "output_tokens"),
    optional=frozenset({"hash_ids", "client"}),
    per_second=1.0,
    unit="seconds",
)
MOONCAKE = Names(
    *("timestamp", "input_length", "output_length"),
    optional=frozenset({"hash_ids"}),
    per_second=1000.0,
    unit="milliseconds",
)


@dataclass(slots=True, eq=False)
class JsonlTrace:
    """One open file of objects, one a line."""

    file: TraceFile
    names: Names
    timed: bool

    @classmethod
    def of(cls, file: TraceFile) -> JsonlTrace | None:
        """None unless the first line is an object; raises TraceError when it has names we do not know."""
        if not file.head.startswith("{"):
            return None
        first = _object(file, file.head)
        names = next((names for names in (OURS, MOONCAKE) if names.input in first), None)
        if names is None or not first.keys() <= names.known or names.output not in first:
            raise file.error(
                f"an object with {', '.join(first)[:100]}; expected [arrival_s, ]input_tokens, output_tokens"
                f"[, hash_ids][, client], or Mooncake's timestamp, input_length, output_length[, hash_ids]"
            )
        return cls(file, names, names.arrival in first)

    @property
    def arrival(self) -> str:
        """What holds the times, for people."""
        return self.names.arrival

    def rows(self, timed: bool) -> Iterator[Row]:
        """Checked rows."""
        index, last_s, line_number = 0, 0.0, 1
        self.file.line = lambda: line_number
        for line_number, line in enumerate(joined((self.file.head,), self.file.lines), start=1):  # noqa: B007 (told above)
            if not line.strip():
                continue
            fields = _object(self.file, line)
            if not fields.keys() <= self.names.known:
                raise self.file.error(
                    f"unknown {', '.join(sorted(fields.keys() - self.names.known))[:100]}; "
                    f"expected {', '.join(sorted(self.names.known))}"
                )
            row = self._row(index, fields, timed)
            if row.arrival_s < last_s:
                raise self.file.error(
                    f"{self.names.arrival} {row.arrival_s} s is before {last_s} s; expected rows in order of arrival"
                )
            yield row
            index, last_s = index + 1, row.arrival_s

    def _row(self, index: int, fields: dict[str, Any], timed: bool) -> Row:
        input_tokens, output_tokens = self._tokens(fields, self.names.input), self._tokens(fields, self.names.output)
        client = fields.get("client", "")
        if type(client) not in (str, int):
            raise self.file.error(f"client {client!r:.60}; expected a name")
        arrival_s = self._seconds(fields) if timed else 0.0
        return Row(index, arrival_s, input_tokens, output_tokens, self._hash_ids(fields, input_tokens), str(client))

    def _seconds(self, fields: dict[str, Any]) -> float:
        value: Any = fields.get(self.names.arrival)
        per_second = self.names.per_second
        if type(value) not in (int, float) or not 0 <= value / per_second <= LATEST_S:
            raise self.file.error(
                f"{self.names.arrival} {value!r:.40}; "
                f"expected {self.names.unit} since the start, 0 to {LATEST_S * per_second:g}"
            )
        return float(value / per_second)

    def _tokens(self, fields: dict[str, Any], name: str) -> int:
        value = fields.get(name)
        if type(value) is not int or not 0 < value <= MOST_TOKENS:
            raise self.file.error(f"{name} {value!r:.40}; expected a whole number of tokens, 1 to {MOST_TOKENS}")
        return value

    def _hash_ids(self, fields: dict[str, Any], input_tokens: int) -> tuple[int, ...]:
        ids = fields.get("hash_ids") or ()
        if not isinstance(ids, list | tuple) or not all(type(block) is int and block >= 0 for block in ids):
            raise self.file.error(f"hash_ids {ids!r:.60}; expected a list of whole numbers")
        if ids and len(ids) != blocks(input_tokens):
            raise self.file.error(
                f"{len(ids)} hash_ids for {input_tokens} {self.names.input}; "
                f"expected one per {BLOCK_TOKENS} tokens, {blocks(input_tokens)}"
            )
        return tuple(ids)


def _object(file: TraceFile, line: str) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise file.error(f"{line.rstrip()[-40:]!r} is not whole JSON ({error}); expected one object a line") from None
    if not isinstance(found, dict):
        raise file.error(f"{line.rstrip()[:40]!r}; expected one object a line")
    return found
