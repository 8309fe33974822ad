"""What a prompt of one length costs on idle workers: lengths come again, so it is worked out once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from devices.worker import Pool, Worker
from policies.quote import kv_bytes
from policies.wires import Wires

Floats = NDArray[np.float64]

MOST_LENGTHS = 4096
MOST_LANES = 1 << 18
"""Lengths kept at a time, and figures of links kept for all of them together: a few MB."""


class PromptCosts:
    """Of one length. Filled as far as it is asked for."""

    __slots__ = ("_alone", "_lanes", "_prompts", "_table", "tokens")

    def __init__(self, prompts: Prompts, tokens: int) -> None:
        self.tokens = tokens
        self._prompts = prompts
        self._alone: dict[Pool, float] = {}
        self._table: Floats | None = None
        self._lanes: tuple[Floats, Floats | None] | None = None

    def alone_s(self, pool: Pool) -> float:
        """Seconds to prefill it on an idle worker."""
        seconds = self._alone.get(pool)
        if seconds is None:
            seconds = self._alone[pool] = pool.predictor.prefill_s(self.tokens)
        return seconds

    @property
    def table(self) -> Floats:
        """Two rows, with a column for each pool: seconds alone (0 where nobody prefills), and chunks."""
        if self._table is None:
            pools, tokens = self._prompts.pools, self.tokens
            seconds = [self.alone_s(pool) if asked else 0.0 for pool, asked in pools.items()]
            chunks = [-(-tokens // pool.limits.max_batched_tokens) for pool in pools]
            self._table = np.array((seconds, chunks), np.float64)
        return self._table

    @property
    def lanes(self) -> tuple[Floats, Floats | None]:
        """Seconds to hand its KV over, [from pool, to pool], and dollars where a wire is rented."""
        if self._lanes is None:
            held = np.array([kv_bytes(worker, self.tokens) for worker in self._prompts.samples])
            wires = self._prompts.wires
            self._lanes = wires.transfer_s(self.tokens, held), wires.transfer_usd(held)
        return self._lanes


class Prompts:
    """The lengths asked for lately.

    Attributes:
        pools: and whether any of its workers prefills.
        samples: a worker of each pool.
    """

    def __init__(self, pools: Mapping[Pool, bool], samples: Sequence[Worker], wires: Wires) -> None:
        self.pools, self.samples, self.wires = pools, samples, wires
        self._known: dict[int, PromptCosts] = {}
        self._most = min(MOST_LENGTHS, MOST_LANES // max(len(pools), 1) ** 2 + 1)

    def of(self, tokens: int) -> PromptCosts:
        """What is known of that length."""
        known = self._known.get(tokens)
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[tokens] = PromptCosts(self, tokens)
        return known
