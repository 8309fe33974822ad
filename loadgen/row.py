"""One request of a workload, and the ids of its prompt's blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from xxhash import xxh3_64_intdigest

BLOCK_TOKENS = 512
"""Tokens behind one of a trace's `hash_ids` (Mooncake's block; the last block of a prompt may be partly filled)."""


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
        client: the trace's own name of the sender or session, empty if unknown.
    """

    index: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    client: str = ""


def blocks(tokens: int) -> int:
    """Blocks that so many tokens fill, the last one perhaps partly."""
    return -(-tokens // BLOCK_TOKENS)


def chained(source: Iterable[Row], lap: int = 0) -> Iterator[Row]:
    """The rows with each id replaced by a hash of itself and all before it: equal ids mean equal text from the start.

    Files may name a block by its own content alone; caches of prefixes need the chain. Rows of another `lap` share no
    id with this one's. Rows without ids pass as they are.
    """
    for row in source:
        ids = row.hash_ids
        yield (
            row
            if not ids
            else Row(row.index, row.arrival_s, row.input_tokens, row.output_tokens, chain(ids, lap), row.client)
        )


def chain(ids: tuple[int, ...], lap: int = 0) -> tuple[int, ...]:
    """63 bits per block, so that they fit in signed columns."""
    return tuple(accumulate(ids, _link, initial=lap))[1:]


def _link(parent: int, block: int) -> int:
    return xxh3_64_intdigest(b"%d" % block, parent) >> 1
