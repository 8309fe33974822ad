"""Mean and quantiles of seconds, as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Spread = dict[str, float | None]
"""`mean, p50, p90, p99` of something in seconds; None where nothing was measured."""

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
SLACK = 1e-9
"""Weight by which a share may be missed: rounding must not move a quantile to the next value."""

_DIGITS = 9


def spread(values: Sequence[float] | Floats) -> Spread:
    """Quantiles are values that occurred: the least one that at least that share of the values does not exceed."""
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    count = len(numbers)
    if not count:
        return written(None, {})
    at = {name: max(0, math.ceil(share * count - SLACK) - 1) for name, share in SHARES.items()}
    return written(math.fsum(numbers.tolist()) / count, {name: float(numbers[i]) for name, i in at.items()})


def written(mean: float | None, quantiles: dict[str, float]) -> Spread:
    """Rounded below any figure that matters."""
    figures = {"mean": mean, **{name: quantiles.get(name) for name in SHARES}}
    return {name: None if value is None else round(value, _DIGITS) for name, value in figures.items()}
