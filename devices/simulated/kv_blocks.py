"""Paged KV of one worker: who holds how many blocks now, and how many after so many more iterations."""

from __future__ import annotations

from devices.simulated.prefix_cache import PrefixCache
from devices.simulated.sequence import Sequence
from devices.worker import Limits


class KvBlocks:
    """Decoding sequences grow by a token an iteration. They are counted together: nobody is asked singly.

    A sequence of c tokens holds ceil(c / block) blocks, which is its tokens and the rest of its last block; the rests
    follow from how many sequences fill a block in which phase of the iterations.

    Attributes:
        steps: iterations so far.
        batch: sequences that decode.
        context: KV tokens they hold together.
        whole: blocks for prompt and output are taken on admission, so decoding takes none.
        cache: prefix ids, which share blocks.
        pinned: blocks that finished prefill legs hold for a decode worker.
    """

    __slots__ = (
        "_block",
        "_blocks",
        "_others",
        "_phases",
        "_shared",
        "batch",
        "cache",
        "context",
        "pinned",
        "steps",
        "whole",
    )

    def __init__(self, limits: Limits, prefix_tokens: int) -> None:
        if prefix_tokens % limits.block_size:
            raise ValueError(f"prefix ids of {prefix_tokens} tokens are not whole blocks of {limits.block_size}")
        self.steps = self.batch = self.context = self.pinned = 0
        self.whole = limits.hard_slots
        self.cache = PrefixCache(prefix_tokens // limits.block_size)
        self._block = limits.block_size
        self._blocks = limits.kv_tokens // limits.block_size
        self._phases = [0] * limits.block_size  # of decoding sequences
        self._shared = 0  # blocks decoding sequences hold in the cache
        self._others = 0  # blocks of sequences that do not decode, without shared ones

    def of(self, tokens: int) -> int:
        """Blocks of so many tokens of one sequence."""
        return -(-tokens // self._block)

    def used(self, ahead: int) -> int:
        """Blocks that cannot be had after `ahead` more iterations of the sequences that decode now."""
        used = self._others + self.cache.in_use_blocks
        if self.whole or not self.batch:
            return used
        block, shift = self._block, self.steps + ahead
        rests = sum([count * (-(phase + shift) % block) for phase, count in enumerate(self._phases) if count])
        return used - self._shared + (self.context + ahead * self.batch + rests) // block

    def _used_at_most(self, ahead: int) -> int:
        """The same from above, at no cost: as if every last block held a single token."""
        used = self._others + (self.cache.in_use_blocks if self.cache.held else 0)
        if self.whole:
            return used
        return used - self._shared + (self.context + self.batch * (ahead + self._block - 1)) // self._block

    def has(self, blocks: int) -> bool:
        """Whether so many blocks can be had beside what the decodes of the coming iteration take."""
        most = self._blocks - blocks
        return self._used_at_most(1) <= most or self.used(1) <= most

    def short(self) -> bool:
        """Whether some decode will not find a block in the coming iteration."""
        return not self.whole and bool(self._phases[-self.steps % self._block]) and not self.has(0)

    def needs_block(self, sequence: Sequence) -> bool:
        """Whether its next token begins a block."""
        return (sequence.context_base + self.steps) % self._block == 0

    def fits_after(self, taken: int) -> bool:
        """Whether one more block can be had when decodes have taken `taken` in this iteration."""
        return self.used(0) + taken < self._blocks

    def taken(self, taken: int) -> None:
        """Decodes have taken so many in this iteration: evict what they have pushed out."""
        self.cache.evict(self.used(0) + taken + self.cache.unused_blocks - self._blocks)

    def make_room(self, ahead: int) -> None:
        """Evict what the growth of `ahead` iterations pushes out of the prefix cache."""
        unused = self.cache.unused_blocks
        if unused and self._used_at_most(ahead) + unused > self._blocks:
            self.cache.evict(self.used(ahead) + unused - self._blocks)

    def iterations_with_room(self, iterations: int, keep_cache: bool) -> int:
        """At most so many that every decode finds its blocks, without any eviction if `keep_cache`; 1 at least.

        Usage only grows, so a bisection finds where it ends.
        """
        room = self._blocks - (self.cache.unused_blocks if keep_cache else 0)
        if self._used_at_most(iterations) <= room or self.used(iterations) <= room:
            return iterations
        low, high = 1, iterations
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.used(middle) <= room else (low, middle)
        return low

    def book(self, iterations: int) -> None:
        """So many iterations have ended."""
        self.steps += iterations
        self.context += iterations * self.batch

    def hold(self, sequence: Sequence, blocks: int) -> None:
        """A sequence that does not decode holds so many blocks from now on, without those it shares."""
        self._others += blocks - sequence.blocks
        sequence.blocks = blocks

    def share(self, sequence: Sequence, prefix_id: int) -> None:
        """Computed blocks of a prompt become the cache's, unless it has the same already."""
        if self.cache.enter(prefix_id):
            sequence.shared.append(prefix_id)
            self.hold(sequence, sequence.blocks - self.cache.blocks_each)

    def shared(self, sequence: Sequence) -> int:
        """Blocks it holds in the cache."""
        return len(sequence.shared) * self.cache.blocks_each

    def grow(self, sequence: Sequence, context: int) -> None:
        """It decodes from the next iteration on, with `context` tokens of KV before that."""
        sequence.context_base = context - self.steps
        self.batch += 1
        self.context += context
        if not self.whole:
            self._phases[sequence.context_base % self._block] += 1
            self._shared += self.shared(sequence)
            self.hold(sequence, 0)

    def stop(self, sequence: Sequence) -> None:
        """It decodes no longer, and keeps what it has."""
        context = sequence.context_base + self.steps
        self.batch -= 1
        self.context -= context
        if not self.whole:
            shared = self.shared(sequence)
            self._phases[sequence.context_base % self._block] -= 1
            self._shared -= shared
            self.hold(sequence, self.of(context) - shared)

    def free(self, sequence: Sequence) -> None:
        """A sequence that does not decode gives all back."""
        self.hold(sequence, 0)
        if sequence.shared:
            self.cache.drop(sequence.shared)
            sequence.shared = []
