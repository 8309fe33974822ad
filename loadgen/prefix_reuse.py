"""How much of a workload's prompts a prefix cache could have had, at best: blocks are there until evicted, at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from loadgen.row import BLOCK_TOKENS


class PrefixCache:
    """One cache for the whole fleet, cold at first, that evicts the least recently used block, deepest first.

    Attributes:
        hit_blocks: leading blocks of prompts found here.
        most_blocks: None for a cache without end.
    """

    def __init__(self, most_tokens: int | None = None) -> None:
        self.hit_blocks = 0
        self.most_blocks = None if most_tokens is None else most_tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def prompt(self, ids: Iterable[int]) -> None:
        """A prompt comes with these chained ids, and all of its blocks are here afterwards as far as they fit."""
        blocks, ids = self._blocks, list(ids)
        for block in ids:
            if block not in blocks:
                break
            self.hit_blocks += 1
        if self.most_blocks is None:
            blocks.update(dict.fromkeys(ids))
            return
        for block in reversed(ids):
            blocks[block] = None
            blocks.move_to_end(block)
        while len(blocks) > self.most_blocks:
            blocks.popitem(last=False)
