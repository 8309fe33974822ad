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

from devices.worker import Worker
from policies.api import Request
from policies.columns import Columns, Floats
from policies.quote import MAX_DUTY, kv_bytes

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

    def __init__(
        self,
        columns: Columns,
        request: Request,
        mask: Mask,
        output_tokens: float,
        alone_s: Sequence[float],
        cached: Sequence[tuple[int, int, float]],
        now: float,
    ) -> None:
        """`alone_s` has, for each pool, the prefill of the prompt on an idle worker. `cached` says what differs for a row
        that holds the head of the prompt: (row, tokens it need not prefill, seconds of the rest).
        """
        self._columns, self._prompt, self._mask = columns, request.prompt_tokens, mask
        self._price_prefill(alone_s, cached, now)
        self._price_decode(output_tokens, now)
        self._closed = self._no_room(mask.decodes, slice(columns.whole, None), self._prompt + output_tokens)
        self._split = request.splittable and columns.wires.any
        if self._split:
            self._price_wires()

    def _price_prefill(self, alone_s: Sequence[float], cached: Sequence[tuple[int, int, float]], now: float) -> None:
        columns, end, prompt = self._columns, self._columns.end, self._prompt
        chunks = [-(-prompt // pool.limits.max_batched_tokens) for pool in columns.pools]
        prefill_s, added_s = np.array((alone_s, chunks), np.float64).take(columns.pool_of[:end], axis=1)
        for row, tokens, seconds in cached:
            chunk = columns.workers[row].pool.limits.max_batched_tokens
            prefill_s[row], added_s[row] = seconds, -(-(prompt - tokens) // chunk)
        added_s *= columns.added_s[:end]
        prefill_s += added_s
        self._soonest_s = columns.until_s[:end] - now
        np.maximum(self._soonest_s, 0.0, out=self._soonest_s)
        self._soonest_s += prefill_s
        self._prefill_usd = np.multiply(prefill_s, columns.rents[:end], out=prefill_s)

    def _price_decode(self, output_tokens: float, now: float) -> None:
        columns, first, prompt = self._columns, self._columns.whole, self._prompt
        read = columns.step_kv_tokens[first:] + (prompt + output_tokens / 2)
        np.minimum(read, columns.step_kv_limits[first:], out=read)
        step_s = columns.reads.step_s(columns.flat_s[first:], columns.batch[first:], read)
        share = columns.kv_tokens[first:] + (prompt + output_tokens)
        share -= columns.kv_limits[first:]
        share /= columns.held_tokens[first:]
        np.maximum(share, columns.seqs_over[first:], out=share)
        np.maximum(share, 0.0, out=share)
        share *= step_s
        share *= output_tokens
        usd = columns.usd_per_step_s[first:] * step_s
        usd *= output_tokens
        for price, start, stop in columns.charges:
            usd[start - first : stop - first] = price.usd(prompt, output_tokens)
        left = columns.duties(now)
        np.minimum(left, MAX_DUTY, out=left)
        np.subtract(1.0, left, out=left)
        self._step_s, self._admission_s, self._decode_usd = step_s, share, usd
        self._tpot_s = np.divide(step_s, left, out=left)

    def _no_room(self, barred: Floats | None, rows: slice, tokens: float) -> Floats | None:
        """Infinite where a row may not take `tokens` tokens or has no room for them now; None where all may."""
        columns = self._columns
        if not columns.hard:
            return barred
        most = columns.hard_kv_tokens[rows]
        full = columns.kv_tokens[rows] + np.minimum(most, tokens) > most
        full |= columns.in_flight[rows] >= columns.hard_seqs[rows]
        if not full.any():
            return barred
        closed = np.where(full, np.inf, 0.0)
        return closed if barred is None else closed + barred

    def _price_wires(self) -> None:
        """From the prefill workers that can win, one row each, to all that decode."""
        columns = self._columns
        held = np.array([kv_bytes(worker, self._prompt) for worker in columns.samples])
        self._transfer_s = columns.wires.transfer_s(self._prompt, held)
        self._transfer_usd = columns.wires.transfer_usd(held)
        self._unfed = self._no_room(self._mask.prefills, slice(columns.end), self._prompt)
        senders = self._senders()
        pools = columns.pool_of[columns.whole :]
        lanes = self._transfer_s[columns.pool_of[senders]].take(pools, axis=1)
        usd = self._prefill_usd[senders][:, None] + self._decode_usd
        if self._transfer_usd is not None:
            usd += self._transfer_usd[columns.pool_of[senders]].take(pools, axis=1)
        self._no_lane = None if columns.wires.complete else np.where(lanes == np.inf, np.inf, 0.0)
        lanes += self._soonest_s[senders][:, None]
        lanes += self._admission_s + self._step_s
        self._split_ttft_s, self._split_usd = lanes, usd

    def _senders(self) -> list[int]:
        """Of each class that hands over KV, the rows that no other of the class beats in seconds and in dollars."""
        columns, found = self._columns, []
        soonest_s = self._soonest_s if self._unfed is None else self._soonest_s + self._unfed
        for pool, start, stop in columns.classes:
            if start >= columns.end or pool not in columns.wires.senders:
                continue
            seconds, usd = soonest_s[start:stop], self._prefill_usd[start:stop]
            row = seconds.argmin()
            while seconds[row] < np.inf:
                found.append(start + int(row))
                cheaper = usd < usd[row]
                if not cheaper.any():
                    break
                seconds = np.where(cheaper, seconds, np.inf)
                row = seconds.argmin()
        return found

    def least(self, rank: Rank) -> list[tuple[Worker, Worker]]:
        """(prefill, decode) of the best pairs in the order of a full scan; none where no pair has a finite rank.

        Of pairs that tie to the last bit only the first of each class is named.
        """
        columns = self._columns
        first, whole = columns.whole, columns.end - columns.whole
        alone = rank(
            self._soonest_s[first:] + self._admission_s[:whole],
            self._tpot_s[:whole],
            self._prefill_usd[first:] + self._decode_usd[:whole],
        )
        ranks = np.full(len(self._tpot_s), np.inf)
        ranks[:whole] = alone
        if self._split:
            split = rank(self._split_ttft_s, self._tpot_s, self._split_usd)
            if self._no_lane is not None:
                split = split + self._no_lane
            np.minimum(ranks, split.min(axis=0, initial=np.inf), out=ranks)
        if self._closed is not None:
            ranks += self._closed
        best = ranks.min(initial=np.inf)
        if best == np.inf:
            return []
        limit = best + best * TOLERANCE
        pairs: list[tuple[int, int]] = []
        for row in self._firsts(ranks, limit, first):
            if row < columns.end and alone[row - first] <= limit:
                pairs.append((row, row))
            if self._split:
                pairs += [(prefill, row) for prefill in self._firsts(self._ranks_to(rank, row), limit, 0)]
        return [(columns.workers[prefill], columns.workers[decode]) for prefill, decode in pairs]

    def _ranks_to(self, rank: Rank, decode: int) -> Floats:
        """The rank of every prefill worker as the other half of one decode worker."""
        columns, row = self._columns, decode - self._columns.whole
        pools = columns.pool_of[: columns.end]
        lanes = self._transfer_s[:, columns.pool_of[decode]].take(pools)
        usd = self._prefill_usd + self._decode_usd[row]
        if self._transfer_usd is not None:
            usd += self._transfer_usd[:, columns.pool_of[decode]].take(pools)
        ttft_s = self._soonest_s + lanes
        ttft_s += self._admission_s[row] + self._step_s[row]
        ranks = np.where(lanes == np.inf, np.inf, rank(ttft_s, self._tpot_s[row : row + 1], usd))
        if self._unfed is not None:
            ranks += self._unfed
        if decode < columns.end:
            ranks[decode] = np.inf
        return ranks

    def _firsts(self, ranks: Floats, limit: float, first: int) -> list[int]:
        """Rows within the limit in configuration order, without those that tie exactly with one of their class."""
        near = (ranks <= limit).nonzero()[0]
        if len(near) > MANY:
            least = ranks[near] == ranks[near].min()
            ties = near[least]
            ties = ties[np.unique(self._columns.class_of[ties + first], return_index=True)[1]]
            near = np.sort(np.concatenate((ties, near[~least])))
        classes = self._columns.class_of
        firsts = {(classes[row + first], ranks[row]): row + first for row in reversed(near.tolist())}
        return sorted(firsts.values(), key=self._columns.order.__getitem__)
