"""All pairs that may take one request, priced at once: the vector twin of `policies.quote`.

What a pair takes is the sum of its two sides and the wire between their pools, in seconds to the first token and in
dollars. So of a class of prefill workers only those can win whom no other of the class beats in both, mostly one; these
few are paired with every decode worker, and 500 x 500 pairs become a few times 500. Nothing that can be best is left
out. Sums are made in another order than the quote's, so figures may differ from it in the last bits: all pairs within
`TOLERANCE` of the best are named, and whoever asks compares their quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.worker import Worker
from policies.api import Request
from policies.columns import Columns, Floats
from policies.quote import MAX_DUTY

TOLERANCE = 1e-10
"""Share by which a rank may be off for having been summed up in another order; real choices differ by more."""
MANY = 16
"""Ties beyond which classes are told apart by numpy."""

Rank = Callable[[Floats, Floats, Floats], Floats]
"""(ttft_s, tpot_s, usd) of many pairs, shapes that broadcast -> one figure for each: the least is best, none is
negative, infinite is out of the question. It must not fall where one of the three grows."""


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Who may serve, whatever they do now: infinite where a row may not, 0 where it may. None where all may."""

    decodes: Floats | None
    prefills: Floats | None

    @classmethod
    def of(cls, columns: Columns, decoders: Sequence[Worker], feeders: Sequence[Worker]) -> Mask:
        """From the workers that may decode, and those that may prefill for others."""
        return cls(
            _barred(columns.workers[columns.whole :], frozenset(decoders)),
            _barred(columns.workers[: columns.end], frozenset(feeders)),
        )


def _barred(rows: Sequence[Worker], allowed: frozenset[Worker]) -> Floats | None:
    barred = np.array([0.0 if worker in allowed else np.inf for worker in rows])
    return barred if barred.any() else None


class Offers:
    """What every pair would deliver. Made for one request at one time, and thrown away.

    Figures of prefill have a row for each worker that prefills, those of decode one for each that decodes.
    """

    __slots__ = (
        "_admission_s",
        "_arrival_s",
        "_closed",
        "_columns",
        "_costs",
        "_decode_usd",
        "_mask",
        "_no_lane",
        "_prefill_usd",
        "_prompt",
        "_soonest_s",
        "_split",
        "_split_ttft_s",
        "_split_usd",
        "_step_s",
        "_tpot_s",
        "_transfer_s",
        "_transfer_usd",
        "_unfed",
    )

    def __init__(
        self,
        columns: Columns,
        request: Request,
        mask: Mask,
        output_tokens: float,
        cached: NDArray[np.int64] | None,
        now: float,
    ) -> None:
        """`cached` has the leading tokens of the prompt that each prefill row holds; None where nobody holds any."""
        self._columns, self._prompt, self._mask = columns, request.prompt_tokens, mask
        self._costs = columns.prompts.of(request.prompt_tokens)
        self._price_prefill(cached, now)
        self._price_decode(output_tokens, now)
        self._closed = mask.decodes
        if columns.hard:
            self._closed = self._without_room(mask.decodes, columns.decodes, self._prompt + output_tokens)
        self._split = request.splittable and columns.wires.any and columns.end > 0
        if self._split:
            self._price_wires(cached)

    def _price_prefill(self, cached: NDArray[np.int64] | None, now: float) -> None:
        columns = self._columns
        rows = self._costs.table.take(columns.prefill_pools, axis=1)
        prefill_s, added_s = rows[0], rows[1]
        if cached is not None:
            self._price_cached(cached, prefill_s, added_s)
        added_s *= columns.added_s
        prefill_s += added_s
        self._soonest_s = columns.until_s - now
        np.maximum(self._soonest_s, 0.0, out=self._soonest_s)
        self._soonest_s += prefill_s
        self._prefill_usd = np.multiply(prefill_s, columns.rents, out=prefill_s)

    def _price_cached(self, cached: NDArray[np.int64], prefill_s: Floats, chunks: Floats) -> None:
        """Rows that hold the head of the prompt prefill the rest of it; those of a pool that hold as much, alike."""
        columns, prompt = self._columns, self._prompt
        rows = cached.nonzero()[0]
        known: dict[tuple[int, int], tuple[float, int]] = {}
        for row, pool, tokens in zip(rows, columns.prefill_pools[rows].tolist(), cached[rows].tolist(), strict=True):
            found = known.get((pool, tokens))
            if found is None:
                of, new = columns.pools[pool], prompt - tokens
                chunk_count = -(-new // of.limits.max_batched_tokens)
                found = known[pool, tokens] = of.predictor.prefill_s(new, tokens), chunk_count
            prefill_s[row], chunks[row] = found

    def _price_decode(self, output_tokens: float, now: float) -> None:
        columns, prompt = self._columns, self._prompt
        tokens = prompt + output_tokens
        roomy = _least(columns.room_tokens) >= tokens
        read = columns.step_kv_tokens + (prompt + output_tokens / 2)
        if not roomy:
            np.minimum(read, columns.step_kv_limits, out=read)
        step_s = self._step_s = columns.reads.step_s(columns.flat_s, columns.batch, read)
        usd = columns.usd_per_step_s * step_s
        usd *= output_tokens
        for price, start, stop in columns.charges:
            usd[start - columns.whole : stop - columns.whole] = price.usd(prompt, output_tokens)
        self._decode_usd = usd
        self._admission_s = None if roomy else self._admission(tokens) * step_s * output_tokens
        left = columns.duties(now)
        np.minimum(left, MAX_DUTY, out=left)
        np.subtract(1.0, left, out=left)
        self._tpot_s = np.divide(step_s, left, out=left)

    def _admission(self, tokens: float) -> Floats:
        """Service times that a request of so many tokens waits for room."""
        columns = self._columns
        share = columns.kv_tokens + tokens
        share -= columns.kv_limits
        share /= np.clip(columns.kv_tokens, 1.0, columns.kv_limits)
        np.maximum(share, columns.seqs_over, out=share)
        return np.maximum(share, 0.0, out=share)

    def _without_room(self, barred: Floats | None, rows: slice, tokens: float) -> Floats | None:
        """Infinite where a row may not take `tokens` tokens or has no room for them now; None where all may."""
        full = self._columns.hard_room_tokens[rows] < tokens
        if not np.count_nonzero(full):
            return barred
        closed = np.where(full, np.inf, 0.0)
        return closed if barred is None else closed + barred

    def _price_wires(self, cached: NDArray[np.int64] | None) -> None:
        """From the prefill workers that can win, one row each, to all that decode."""
        columns = self._columns
        self._transfer_s, self._transfer_usd = self._costs.lanes
        self._unfed = self._mask.prefills
        if columns.hard:
            self._unfed = self._without_room(self._mask.prefills, columns.prefills, self._prompt)
        self._arrival_s = self._step_s if self._admission_s is None else self._step_s + self._admission_s
        even = cached is None and not np.count_nonzero(columns.added_s)
        soonest_s = self._soonest_s if self._unfed is None else self._soonest_s + self._unfed
        senders = columns.prefill_starts if even else self._senders(soonest_s)
        first_s = np.minimum.reduceat(soonest_s, senders) if even else soonest_s.take(senders)
        pools = columns.prefill_pools.take(senders)
        lanes = self._transfer_s.take(pools, axis=0).take(columns.decode_pools, axis=1)
        usd = self._prefill_usd.take(senders)[:, None] + self._decode_usd
        if self._transfer_usd is not None:
            usd += self._transfer_usd.take(pools, axis=0).take(columns.decode_pools, axis=1)
        lanes += first_s[:, None]
        self._no_lane = None
        if self._unfed is not None or not columns.all_linked:
            self._no_lane = np.where(lanes == np.inf, np.inf, 0.0)
        lanes += self._arrival_s
        self._split_ttft_s, self._split_usd = lanes, usd

    def _senders(self, soonest_s: Floats) -> NDArray[np.intp]:
        """Of each class that hands over KV, the rows that no other of the class beats in seconds and in dollars.

        That is the soonest of each where all workers of a class ask the same, and then nobody asks this.
        """
        columns = self._columns
        found: list[int] = []
        for pool, start, stop in columns.classes:
            if start >= columns.end or pool not in columns.wires.senders:
                continue
            seconds, usd = soonest_s[start:stop], self._prefill_usd[start:stop]
            row = seconds.argmin()
            while seconds[row] < np.inf:
                found.append(start + int(row))
                seconds = np.where(usd < usd[row], seconds, np.inf)
                row = seconds.argmin()
        return np.array(found, np.intp)

    def least(self, rank: Rank) -> list[tuple[Worker, Worker]]:
        """(prefill, decode) of the best pairs in the order of a full scan; none where no pair has a finite rank.

        Of pairs that tie to the last bit only the first of each class is named.
        """
        columns, first = self._columns, self._columns.whole
        ranks = alone = self._ranks_alone(rank)
        if self._split:
            split = rank(self._split_ttft_s, self._tpot_s, self._split_usd)
            if self._no_lane is not None:
                split = split + self._no_lane
            ranks = split.min(axis=0, initial=np.inf)
            np.minimum(ranks[: len(alone)], alone, out=ranks[: len(alone)])
        if self._closed is not None:
            ranks = ranks + self._closed[: len(ranks)]
        best = _least(ranks)
        if best == np.inf:
            return []
        limit = best + best * TOLERANCE
        rows, workers = self._firsts(ranks, limit, first), columns.workers
        if not self._split:
            return [(workers[row], workers[row]) for row in rows]
        pairs: list[tuple[int, int]] = []
        for row in rows:
            if row < columns.end and alone[row - first] <= limit:
                pairs.append((row, row))
            pairs += [(prefill, row) for prefill in self._firsts(self._ranks_to(rank, row), limit, 0)]
        return [(workers[prefill], workers[decode]) for prefill, decode in pairs]

    def _ranks_alone(self, rank: Rank) -> Floats:
        """Of the workers that serve both phases, each by itself."""
        first, whole = self._columns.whole, self._columns.end - self._columns.whole
        ttft_s = self._soonest_s[first:]
        if self._admission_s is not None:
            ttft_s = ttft_s + self._admission_s[:whole]
        return rank(ttft_s, self._tpot_s[:whole], self._prefill_usd[first:] + self._decode_usd[:whole])

    def _ranks_to(self, rank: Rank, decode: int) -> Floats:
        """The rank of every prefill worker as the other half of one decode worker."""
        columns, row = self._columns, decode - self._columns.whole
        pools = columns.prefill_pools
        lanes = self._transfer_s[:, columns.pool_of[decode]].take(pools)
        usd = self._prefill_usd + self._decode_usd[row]
        if self._transfer_usd is not None:
            usd += self._transfer_usd[:, columns.pool_of[decode]].take(pools)
        ttft_s = self._soonest_s + lanes
        ttft_s += self._arrival_s[row]
        ranks = rank(ttft_s, self._tpot_s[row : row + 1], usd)
        if not columns.all_linked:
            ranks = np.where(lanes == np.inf, np.inf, ranks)
        if self._unfed is not None:
            ranks += self._unfed
        if decode < columns.end:
            ranks[decode] = np.inf
        return ranks

    def _firsts(self, ranks: Floats, limit: float, first: int) -> list[int]:
        """Rows within the limit in configuration order, without those that tie exactly with one of their class."""
        near = (ranks <= limit).nonzero()[0]
        if len(near) == 1:
            return [int(near[0]) + first]
        if len(near) > MANY:
            least = ranks[near] == ranks[near].min()
            ties = near[least]
            starts = ties.searchsorted(self._columns.class_starts - first)
            ties = ties[np.minimum(starts, len(ties) - 1)]
            near = np.sort(np.concatenate((ties, near[~least])))
        classes = self._columns.class_of
        firsts = {(classes[row + first], ranks[row]): row + first for row in reversed(near.tolist())}
        return sorted(firsts.values(), key=self._columns.order.__getitem__)


def _least(figures: Floats) -> float:
    """The least of them, infinite if there is none. Where it lies is found faster than what it is."""
    return float(figures[figures.argmin()]) if len(figures) else np.inf
