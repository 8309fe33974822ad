"""KV of prompt prefixes that outlives its sequence until room is needed: reference counts, and the oldest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class PrefixCache:
    """Chained prefix ids, each holding `blocks_each` KV blocks once, however many sequences refer to it.

    Attributes:
        unused: ids nobody refers to, the one to be evicted next first.
    """

    def __init__(self, blocks_each: int) -> None:
        self.blocks_each = blocks_each
        self._references: dict[int, int] = {}
        self.unused: OrderedDict[int, None] = OrderedDict()

    @property
    def held(self) -> bool:
        """Whether anything is in it."""
        return bool(self._references)

    @property
    def in_use_blocks(self) -> int:
        """Blocks that cannot be taken away."""
        return (len(self._references) - len(self.unused)) * self.blocks_each

    @property
    def unused_blocks(self) -> int:
        """Blocks that eviction can free."""
        return len(self.unused) * self.blocks_each

    def leading(self, prefix: tuple[int, ...], most: int) -> int:
        """How many of the first `most` ids are here, counted up to the first that is not."""
        references, found = self._references, 0
        for block in prefix:
            if found == most or block not in references:
                break
            found += 1
        return found

    def unused_among(self, ids: tuple[int, ...]) -> int:
        """How many of these ids nobody refers to."""
        unused = self.unused
        return sum(1 for block in ids if block in unused) if unused else 0

    def take(self, ids: Iterable[int]) -> None:
        """Refer to ids that are here."""
        references, unused = self._references, self.unused
        for block in ids:
            references[block] += 1
            unused.pop(block, None)

    def enter(self, block: int) -> bool:
        """A new id with one reference; False if it is here already, and then nothing changes."""
        if block in self._references:
            return False
        self._references[block] = 1
        return True

    def drop(self, ids: list[int]) -> None:
        """Give references back, the deepest first, so that the end of a prefix is evicted before its start."""
        references, unused = self._references, self.unused
        for block in reversed(ids):
            left = references[block] - 1
            references[block] = left
            if not left:
                unused[block] = None

    def evict(self, blocks: int) -> None:
        """Free at least so many blocks, or all that can be."""
        while blocks > 0 and self.unused:
            block, _ = self.unused.popitem(last=False)
            del self._references[block]
            blocks -= self.blocks_each
