"""One model's workers as arrays: what changed since is written row by row, and all workers are read at once."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import exp, inf
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.worker import ApiPrice, Billing, Link, Phase, Pool, Worker
from policies.api import Load
from policies.kv_reads import KvReads
from policies.prompts import Prompts
from policies.wires import Wires

Floats = NDArray[np.float64]

FADED = 50.0
"""Duty windows after which the column of duties is brought to a new time, long before e^x overflows."""


class BookedLoad(Load, Protocol):
    """A load with the figures behind its answers: when its prefill ends, and when its duty was `duty`."""

    @property
    def prefill_until_s(self) -> float: ...
    @property
    def duty(self) -> float: ...
    @property
    def duty_at_s(self) -> float: ...


class _Facts(NamedTuple):
    """What is written of a row besides its load. `flat_steps`: seconds of a step that reads no cache, by its batch."""

    metered: bool
    hard: bool
    max_seqs: int
    kv_tokens: int
    usd_per_s: float
    decode_step_s: Callable[[int, float], float]
    lone_step_s: float
    flat_steps: dict[int, float]


class Columns:
    """Rows are workers: first those that only prefill, then those that serve both phases, then those that only decode.

    Workers of one pool and phases lie side by side in configuration order; such a run is a class.

    Attributes:
        order: place of each row in configuration order.
        whole, end: the first row that serves both phases, the first that only decodes.
        prefills, decodes: the rows that serve a phase. Columns about a phase have no others.
        classes: (place of the pool, first row, row behind the last).
        all_linked: whether everybody who prefills can hand over to everybody who decodes.
        charges: prices of metered APIs, with the rows they hold for.
        separable: False where a pair is not the sum of its sides and the wire: an API that takes part in hand-overs.
        in_flight, queued_tokens: requests and prompt tokens waiting. The loads keep them, by way of their `_cells`, as
            they do the rows in `changed`, which are written before the other columns are read.
        until_s, added_s: when the prefill sent so far is done; what running decodes add to each chunk of a prefill.
        batch, flat_s, usd_per_step_s: of the decode step that one more request would make: its sequences, its seconds
            with no cache to read, and the request's share of the rent.
        step_kv_tokens: KV that a step reads.
        room_tokens: a request of so many tokens neither waits for room nor meets the KV limit.
        seqs_over, kv_tokens: what a longer one waits for: sequences too many, as a share of those that run, and KV
            held, infinitely little where nobody decodes.
        hard_room_tokens: a request of more cannot be sent now; infinite where slots are not hard.
    """

    def __init__(self, workers: Sequence[Worker], links: Mapping[tuple[str, str], Link], duty_window_s: float) -> None:
        self.pools = tuple(dict.fromkeys(worker.pool for worker in workers))
        places = {pool: place for place, pool in enumerate(self.pools)}
        order = sorted(range(len(workers)), key=lambda i: (_segment(workers[i]), places[workers[i].pool], i))
        rows = self.workers = tuple(workers[i] for i in order)
        self.row = {worker: row for row, worker in enumerate(rows)}
        self.order = np.array(order, np.intp)
        segments = [_segment(worker) for worker in rows]
        self.whole, self.end = segments.count(0), len(segments) - segments.count(2)
        pool_of = [places[worker.pool] for worker in rows]
        self.prefills, self.decodes = slice(self.end), slice(self.whole, None)
        self.pool_of = np.array(pool_of, np.intp)
        self.prefill_pools, self.decode_pools = self.pool_of[self.prefills], self.pool_of[self.decodes]
        self.class_of, self.classes = _classes([*zip(segments, pool_of, strict=True)])
        self.class_starts = np.array([start for _, start, _ in self.classes], np.intp)
        self.wires = Wires(self.pools, links)
        asked = {pool: any(one.pool is pool for one in rows[self.prefills]) for pool in self.pools}
        samples = [next(one for one in rows if one.pool is pool) for pool in self.pools]
        self.prompts = Prompts(asked, samples, self.wires)
        self.all_linked = self.wires.complete(np.unique(self.prefill_pools), np.unique(self.decode_pools))
        self.prefill_starts = np.array([start for _, start, _ in self.classes if start < self.end], np.intp)
        self.charges = self._charges()
        self.separable = all(
            not pool.metered or (pool.billing.price and place not in self.wires.linked)
            for place, pool in enumerate(self.pools)
        )
        self.reads = KvReads(rows[self.decodes])
        facts = {pool: _facts(worker) for pool, worker in zip(self.pools, samples, strict=True)}
        self._facts = [facts[worker.pool] for worker in rows]
        self.rents = self._rents()
        takers = self._facts[self.decodes]
        self.kv_limits = np.array([known.kv_tokens for known in takers], np.float64)
        self.step_kv_limits = np.array([inf if known.metered else known.kv_tokens for known in takers], np.float64)
        self.hard = any(known.hard for known in self._facts)
        self.changed = set(range(len(rows)))
        self.in_flight_cells = array("q", bytes(8 * len(rows)))
        self.in_flight = np.frombuffer(self.in_flight_cells, np.int64)
        self.queued_cells = array("q", bytes(8 * len(rows)))
        self.queued_tokens = np.frombuffer(self.queued_cells, np.int64)
        self._window_s = duty_window_s
        self._duty_from_s = 0.0
        prefills, decodes = self.prefills, self.decodes
        self._until, self.until_s = _column(rows, prefills, -inf)
        self._added, self.added_s = _column(rows, prefills)
        self._batch, self.batch = _column(rows, decodes)
        self._flat, self.flat_s = _column(rows, decodes)
        self._usd, self.usd_per_step_s = _column(rows, decodes)
        self._kv, self.kv_tokens = _column(rows, decodes, -inf)
        self._step_kv, self.step_kv_tokens = _column(rows, decodes)
        self._room, self.room_tokens = _column(rows, decodes)
        self._over, self.seqs_over = _column(rows, decodes)
        self._hard_room, self.hard_room_tokens = _column(rows, slice(None), inf)
        self._duty, self._duties = _column(rows, decodes)

    def _charges(self) -> list[tuple[ApiPrice, int, int]]:
        return [
            (price, start, stop)
            for pool, start, stop in self.classes
            if self.whole <= start < self.end and (price := self.pools[pool].billing.price)
        ]

    def reprice(self, pool: Pool, billing: Billing) -> None:
        """A pool of these workers is paid for like this from now on; it stays metered, or rented."""
        rows = [row for worker, row in self.row.items() if worker.pool is pool]
        place, dearer = int(self.pool_of[rows[0]]), replace(pool, billing=billing)
        self.pools = (*self.pools[:place], dearer, *self.pools[place + 1 :])
        self.charges = self._charges()
        if not pool.metered:
            for row in rows:
                self._facts[row] = self._facts[row]._replace(usd_per_s=dearer.usd_per_s)
            self.changed.update(rows)
            self.rents = self._rents()

    def _rents(self) -> Floats:
        return np.array([known.usd_per_s for known in self._facts[self.prefills]], np.float64)

    def update(self, loads: Sequence[BookedLoad]) -> None:
        """Write the rows that changed; `loads` has one for each row."""
        whole, end = self.whole, self.end
        for row in self.changed:
            facts, load = self._facts[row], loads[row]
            if row < end and not facts.metered:
                self._write_prefill(row, facts, load)
            if row >= whole:
                self._write_decode(row, facts, load)
            if facts.hard:
                self._hard_room[row] = _hard_room_tokens(facts, load.requests, load.kv_tokens)
        self.changed.clear()

    def duties(self, now: float) -> Floats:
        """Prefill duty of the rows that decode, as if there were no highest."""
        self._date_duties(now)
        faded: Floats = self._duties * exp((self._duty_from_s - now) / self._window_s)
        return faded

    def _date_duties(self, at_s: float) -> None:
        """Bring their column to a time where that is far from the one it is for."""
        if at_s - self._duty_from_s > FADED * self._window_s:
            self._duties *= exp((self._duty_from_s - at_s) / self._window_s)
            self._duty_from_s = at_s

    def _write_prefill(self, row: int, facts: _Facts, load: BookedLoad) -> None:
        self._until[row] = load.prefill_until_s
        decodes, added_s = load.decodes, 0.0
        if decodes:
            added_s = facts.decode_step_s(decodes, load.kv_tokens) - facts.lone_step_s
        self._added[row] = added_s if added_s > 0.0 else 0.0

    def _write_decode(self, row: int, facts: _Facts, load: BookedLoad) -> None:
        decodes, held = load.decodes, load.kv_tokens
        most_seqs, most = facts.max_seqs, facts.kv_tokens
        batch = decodes + 1 if decodes < most_seqs or facts.metered else most_seqs
        flat_s = facts.flat_steps.get(batch)
        if flat_s is None:
            flat_s = facts.flat_steps[batch] = facts.decode_step_s(batch, 0.0)
        self._batch[row], self._flat[row] = batch, flat_s
        self._usd[row] = facts.usd_per_s / batch if batch else inf
        if not facts.metered:
            self._step_kv[row] = held
        if load.duty:
            at_s = load.duty_at_s
            self._date_duties(at_s)
            self._duty[row] = load.duty * exp((at_s - self._duty_from_s) / self._window_s)
        self._kv[row] = held if decodes else -inf
        over = decodes + 1 - most_seqs if decodes else 0
        if over > 0:
            self._over[row] = over / min(decodes, most_seqs) if most_seqs else 0.0
        else:
            self._over[row] = 0.0
        # Rows of hard slots that have no room now are not asked, so theirs is what they have when idle.
        self._room[row] = most if facts.hard and decodes else most - held if over <= 0 else -inf


def _facts(worker: Worker) -> _Facts:
    pool, limits = worker.pool, worker.pool.limits
    decode_step_s = pool.predictor.decode_step_s
    return _Facts(
        metered=pool.metered,
        hard=limits.hard_slots,
        max_seqs=limits.max_seqs,
        kv_tokens=limits.kv_tokens,
        usd_per_s=0.0 if pool.metered else pool.usd_per_s,
        decode_step_s=decode_step_s,
        lone_step_s=decode_step_s(1, 0),
        flat_steps={},
    )


def _hard_room_tokens(facts: _Facts, requests: int, held: int) -> float:
    """An idle worker has room for all that it can hold, however long that may become."""
    if requests >= facts.max_seqs:
        return -inf
    return facts.kv_tokens - held if held else inf


def _segment(worker: Worker) -> int:
    """0 for a worker that only prefills, 1 for both phases, 2 for one that only decodes."""
    if not worker.serves(Phase.DECODE):
        return 0
    return 1 if worker.serves(Phase.PREFILL) else 2


def _classes(keys: Sequence[tuple[int, int]]) -> tuple[NDArray[np.intp], list[tuple[int, int, int]]]:
    """The class of each row, and of each class its pool, first row and the row behind its last."""
    class_of = np.empty(len(keys), np.intp)
    classes: list[tuple[int, int, int]] = []
    for (_, pool), run in groupby(range(len(keys)), key=keys.__getitem__):
        rows = list(run)
        class_of[rows] = len(classes)
        classes.append((pool, rows[0], rows[-1] + 1))
    return class_of, classes


def _column(rows: Sequence[Worker], read: slice, value: float = 0.0) -> tuple[array[float], Floats]:
    """Cells to write one by one, and some of them to read at once: either is slow at the other's work."""
    cells = array("d", [value] * len(rows))
    return cells, np.frombuffer(cells, np.float64)[read]
