"""Which worker was sent which prompt heads: where a new prompt would find its own head in the cache. Approximate.

It knows our own dispatches only, takes a block for cached from the moment it was sent, and forgets as an engine would:
the least recently used first, the tail of a prompt before its head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW = 8
"""Workers that are told apart one by one; more of them bit by bit in numpy."""


class PrefixIndex:
    """Ids are chained: one stands for a block and all before it. Rows are workers."""

    def __init__(self, most_ids: Sequence[int]) -> None:
        """`most_ids` is how many blocks the cache of each row holds; 0 for a row that shall not be remembered."""
        self._most = most_ids
        self._lately: list[OrderedDict[int, None]] = [OrderedDict() for _ in most_ids]
        self._holders: dict[int, int] = {}
        """For each id, one bit for each row."""

    def sent(self, row: int, prefix: Sequence[int]) -> None:
        """A prompt that begins with these blocks was sent to a worker."""
        lately, most, bit = self._lately[row], self._most[row], 1 << row
        holders, renew = self._holders, lately.move_to_end
        for block in reversed(prefix[:most]):  # the head last, so that it is forgotten last
            if block in lately:
                renew(block)
            else:
                lately[block] = None
                holders[block] = holders.get(block, 0) | bit
        while len(lately) > most:
            self._drop(lately.popitem(last=False)[0], bit)

    def forget(self, row: int) -> None:
        """The worker is gone, its cache with it."""
        for block in self._lately[row]:
            self._drop(block, 1 << row)
        self._lately[row].clear()

    def _drop(self, block: int, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]

    def held(self, row: int, prefix: Sequence[int]) -> int:
        """Leading blocks that one worker holds."""
        lately = self._lately[row]
        for count, block in enumerate(prefix):
            if block not in lately:
                return count
        return len(prefix)

    def held_by_all(self, prefix: Sequence[int]) -> NDArray[np.int64]:
        """Leading blocks that each worker holds."""
        counts = np.zeros(len(self._most), np.int64)
        known = self._holders.get
        holders = known(prefix[0], 0) if prefix else 0
        for count in range(1, len(prefix) + 1):
            if not holders:
                break
            left = holders & known(prefix[count], 0) if count < len(prefix) else 0
            if left != holders:
                counts[_rows(holders ^ left, len(counts))] = count
                holders = left
        return counts


def _rows(bits: int, rows: int) -> NDArray[np.intp] | list[int]:
    if bits.bit_count() > FEW:
        octets = np.frombuffer(bits.to_bytes((rows + 7) // 8, "little"), np.uint8)
        return np.unpackbits(octets, bitorder="little").nonzero()[0]
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found
