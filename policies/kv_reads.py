"""Decode steps of many workers at once, when the part that reads no cache is known of each already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from devices.natures.predictor_table import Terms, terms
from devices.worker import Worker

Floats = NDArray[np.float64]


class KvReads:
    """The terms of a predictor that grow with the cache; predictors without terms are asked singly."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        found = {worker.pool: terms(worker.pool.predictor) for worker in workers}
        rows = [found[worker.pool] or Terms() for worker in workers]
        self._kv_s = np.array([row.kv_s for row in rows], np.float64)
        self._bounded_kv_s = np.array([row.bounded_kv_s for row in rows], np.float64)
        self._bound = np.array([row.bound for row in rows], np.float64)
        self._tier_kv_s = np.array([row.tier_kv_s for row in rows], np.float64)
        self._tier_tokens = np.array([row.tier_tokens for row in rows], np.float64)
        self._bounded, self._tiered = bool(self._bounded_kv_s.any()), bool(self._tier_kv_s.any())
        self._others = [
            (row, worker.pool.predictor.decode_step_s)
            for row, worker in enumerate(workers)
            if found[worker.pool] is None
        ]

    def step_s(self, flat_s: Floats, batch: Floats, kv_tokens: Floats) -> Floats:
        """Seconds of a step of each row; `flat_s` is what it takes with no cache to read."""
        seconds: Floats = self._kv_s * kv_tokens
        seconds += flat_s
        if self._bounded:
            seconds += self._bounded_kv_s * np.minimum(kv_tokens, self._bound * batch)
        if self._tiered:
            seconds -= self._tier_kv_s * np.minimum(kv_tokens, self._tier_tokens)
        for row, decode_step_s in self._others:
            seconds[row] = decode_step_s(int(batch[row]), float(kv_tokens[row]))
        return seconds
