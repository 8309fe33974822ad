"""One model's workers as arrays: what changed since is written row by row, and all workers are read at once."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import exp, inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices.worker import ApiPrice, Link, Phase, Worker
from policies.api import Load
from policies.kv_reads import KvReads
from policies.wires import Wires

Floats = NDArray[np.float64]

FADED = 50.0
"""After so many duty windows the column of duties is brought to the present, long before e^x overflows."""


class BookedLoad(Load, Protocol):
    """A load with the figures behind its answers: when its prefill ends, and when its duty was `duty`."""

    @property
    def prefill_until_s(self) -> float: ...
    @property
    def duty(self) -> float: ...
    @property
    def duty_at_s(self) -> float: ...


class Columns:
    """Rows are workers: first those that only prefill, then those that serve both phases, then those that only decode.

    Workers of one pool and phases lie side by side in configuration order; such a run is a class.

    Attributes:
        order: place of each row in configuration order.
        whole, end: the first row that serves both phases, the first that only decodes.
        classes: (pool, first row, row behind the last).
        samples: a worker of each pool.
        charges: prices of metered APIs, with the rows they hold for.
        in_flight, changed: kept by the loads themselves: requests of each row, and rows to write again.
        separable: False where a pair is not the sum of its sides and the wire: an API that takes part in hand-overs.
        until_s, added_s: when the prefill sent so far is done; what running decodes add to each chunk of a prefill.
        batch, flat_s, usd_per_step_s: of the decode step that one more request would make: its sequences, its seconds
            with no cache to read, and the request's share of the rent.
        kv_tokens, step_kv_tokens: KV held, and the part of it that a step reads.
        seqs_over, held_tokens: sequences beyond the limit, and KV, as shares of which a request waits for room.
    """

    def __init__(self, workers: Sequence[Worker], links: Mapping[tuple[str, str], Link], duty_window_s: float) -> None:
        self.pools = tuple(dict.fromkeys(worker.pool for worker in workers))
        places = {pool: place for place, pool in enumerate(self.pools)}
        order = sorted(range(len(workers)), key=lambda i: (_segment(workers[i]), places[workers[i].pool], i))
        self.workers = tuple(workers[i] for i in order)
        self.row = {worker: row for row, worker in enumerate(self.workers)}
        self.order = np.array(order, np.intp)
        segments = [_segment(worker) for worker in self.workers]
        self.whole, self.end = segments.count(0), len(segments) - segments.count(2)
        self.pool_of = np.array([places[worker.pool] for worker in self.workers], np.intp)
        self.class_of, self.classes = _classes([*zip(segments, self.pool_of.tolist(), strict=True)])
        self.wires = Wires(self.pools, links)
        self.separable = all(
            not pool.metered or (pool.billing.price and place not in self.wires.linked)
            for place, pool in enumerate(self.pools)
        )
        self.samples = tuple(next(one for one in self.workers if one.pool is pool) for pool in self.pools)
        self.charges = self._charges()
        self.reads = KvReads(self.workers[self.whole :])
        self.rents = np.array([0.0 if one.pool.metered else one.pool.usd_per_s for one in self.workers], np.float64)
        limits = [worker.pool.limits for worker in self.workers]
        self.kv_limits = np.array([limit.kv_tokens for limit in limits], np.float64)
        self.step_kv_limits = np.array([inf if one.pool.metered else one.pool.limits.kv_tokens for one in self.workers])
        self.hard = any(limit.hard_slots for limit in limits)
        self.hard_seqs = np.array([limit.max_seqs if limit.hard_slots else inf for limit in limits], np.float64)
        self.hard_kv_tokens = np.array([limit.kv_tokens if limit.hard_slots else inf for limit in limits], np.float64)
        self.changed = set(range(len(self.workers)))
        self.in_flight_cells = array("q", bytes(8 * len(self.workers)))
        self.in_flight = np.frombuffer(self.in_flight_cells, np.int64)
        self._window_s = duty_window_s
        self._duty_from_s = 0.0
        self._flat_steps: tuple[dict[int, float], ...] = tuple({} for _ in self.pools)
        self._until, self.until_s = _column(self.workers, -inf)
        self._added, self.added_s = _column(self.workers)
        self._batch, self.batch = _column(self.workers)
        self._flat, self.flat_s = _column(self.workers)
        self._usd, self.usd_per_step_s = _column(self.workers)
        self._kv, self.kv_tokens = _column(self.workers)
        self._step_kv, self.step_kv_tokens = _column(self.workers)
        self._over, self.seqs_over = _column(self.workers)
        self._held, self.held_tokens = _column(self.workers, inf)
        self._duty, self._duties = _column(self.workers)

    def _charges(self) -> list[tuple[ApiPrice, int, int]]:
        """Rows of metered APIs that answer whole requests, and what they charge."""
        return [
            (price, start, stop)
            for pool, start, stop in self.classes
            if self.whole <= start < self.end
            if (price := self.pools[pool].billing.price)
        ]

    def update(self, loads: Sequence[BookedLoad], now: float) -> None:
        """Write the rows that changed; `loads` has one for each row."""
        if now - self._duty_from_s > FADED * self._window_s:
            self._duties *= exp((self._duty_from_s - now) / self._window_s)
            self._duty_from_s = now
        for row in self.changed:
            self._write(row, loads[row])
        self.changed.clear()

    def duties(self, now: float) -> Floats:
        """Prefill duty of the rows that decode, as if there were no highest."""
        faded: Floats = self._duties[self.whole :] * exp((self._duty_from_s - now) / self._window_s)
        return faded

    def _write(self, row: int, load: BookedLoad) -> None:
        pool = self.workers[row].pool
        decodes, held, metered = load.decodes, load.kv_tokens, pool.metered
        self._kv[row] = held
        if not metered:
            self._step_kv[row] = held
            self._until[row] = load.prefill_until_s
        if row < self.end:
            step_s = pool.predictor.decode_step_s
            self._added[row] = 0.0
            if decodes and not metered:
                self._added[row] = max(step_s(decodes, held) - step_s(1, 0), 0.0)
        if row >= self.whole:
            limits = pool.limits
            batch = decodes + 1 if metered or decodes < limits.max_seqs else limits.max_seqs
            self._batch[row] = batch
            self._flat[row] = self._flat_s(row, batch)
            self._usd[row] = self.rents[row] / batch if batch else inf
            self._duty[row] = load.duty * exp((load.duty_at_s - self._duty_from_s) / self._window_s)
            running = min(decodes, limits.max_seqs)
            self._over[row] = (decodes + 1 - limits.max_seqs) / running if running else 0.0
            self._held[row] = max(min(held, limits.kv_tokens), 1) if decodes else inf

    def _flat_s(self, row: int, batch: int) -> float:
        known = self._flat_steps[self.pool_of[row]]
        seconds: float | None = known.get(batch)
        if seconds is None:
            seconds = known[batch] = self.workers[row].pool.predictor.decode_step_s(batch, 0.0)
        return seconds


def _segment(worker: Worker) -> int:
    return worker.serves(Phase.DECODE) + (worker.serves(Phase.DECODE) and not worker.serves(Phase.PREFILL))


def _classes(keys: Sequence[tuple[int, int]]) -> tuple[NDArray[np.intp], list[tuple[int, int, int]]]:
    """The class of each row, and of each class its pool, first row and the row behind its last."""
    class_of = np.empty(len(keys), np.intp)
    classes: list[tuple[int, int, int]] = []
    for (_, pool), run in groupby(range(len(keys)), key=keys.__getitem__):
        rows = list(run)
        class_of[rows] = len(classes)
        classes.append((pool, rows[0], rows[-1] + 1))
    return class_of, classes


def _column(workers: Sequence[Worker], value: float = 0.0) -> tuple[array[float], Floats]:
    """Cells to write one by one, and the same memory to read at once: either is slow at the other's work."""
    cells = array("d", [value] * len(workers))
    return cells, np.frombuffer(cells, np.float64)
