"""How far predictions are off: relative errors, their quantiles, and how sure the median is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SURE = 0.95
"""Share of resamples the interval holds."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of one quantity over some rows; all fractions, 0.1 is 10 %.

    Attributes:
        interval: of `median_abs`, by resampling whole groups: rows of one group err together.
    """

    rows: int
    median_abs: float
    p90_abs: float
    median_signed: float
    interval: tuple[float, float]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "rows": self.rows,
            "median_abs": self.median_abs,
            "p90_abs": self.p90_abs,
            "median_signed": self.median_signed,
            "interval": list(self.interval),
        }


def score(pairs: Sequence[tuple[float, float]], groups: Sequence[str], seed: int) -> Score | None:
    """Of (measured, predicted) pairs and the group each belongs to; None if there are none."""
    if not pairs:
        return None
    measured, predicted = np.array(pairs).T
    signed = predicted / measured - 1
    size = np.abs(signed)
    return Score(
        rows=len(pairs),
        median_abs=float(np.median(size)),
        p90_abs=float(np.quantile(size, 0.9)),
        median_signed=float(np.median(signed)),
        interval=_interval(size, groups, seed),
    )


def _interval(size: NDArray[np.float64], groups: Sequence[str], seed: int) -> tuple[float, float]:
    """Where there is one group only, its rows are resampled: a lower bound of the doubt."""
    chance = np.random.default_rng(seed)
    members = [np.flatnonzero(np.array(groups) == name) for name in sorted(set(groups))]
    if len(members) == 1:
        members = [np.array([row]) for row in range(len(size))]
    medians = [
        np.median(size[np.concatenate([members[pick] for pick in chance.integers(0, len(members), len(members))])])
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(medians, [(1 - SURE) / 2, (1 + SURE) / 2])
    return float(low), float(high)
