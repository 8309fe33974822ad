"""Non-negative least squares: minimise |A x - b| over x >= 0, by the active-set method of Lawson and Hanson (1974)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def nnls(a: Floats, b: Floats, tolerance: float = 1e-10) -> Floats:
    """The minimiser; columns are scaled to one first, so units do not matter."""
    norms = np.linalg.norm(a, axis=0)
    used = norms > 0
    solution = np.zeros(a.shape[1])
    if used.any():
        solution[used] = _scaled(a[:, used] / norms[used], b, tolerance) / norms[used]
    return solution


def _scaled(a: Floats, b: Floats, tolerance: float) -> Floats:
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], dtype=bool)
    limit = tolerance * max(1.0, float(np.linalg.norm(b)))
    for _ in range(3 * a.shape[1]):  # each round frees one column; cycling is cut short
        gradient = a.T @ (b - a @ x)
        gradient[free] = -np.inf
        entering = int(np.argmax(gradient))
        if gradient[entering] <= limit:
            break
        free[entering] = True
        x = _solved_on(a, b, x, free)
    return x


def _solved_on(a: Floats, b: Floats, x: Floats, free: NDArray[np.bool_]) -> Floats:
    """Least squares on the free columns; those that would turn negative leave, nearest to zero first."""
    while True:
        wanted = np.zeros_like(x)
        wanted[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        bad = free & (wanted <= 0)
        if not bad.any():
            return wanted
        step = np.min(x[bad] / np.maximum(x[bad] - wanted[bad], 1e-300))
        x = x + step * (wanted - x)
        leaving = free & (x <= 1e-15)
        free &= ~(leaving if leaving.any() else bad)
        x[~free] = 0.0
        if not free.any():
            return x
