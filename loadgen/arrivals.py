"""When requests come: endless streams of arrival times, repeatable from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np

_BATCH = 4096

Arrivals = Callable[[float, int], Iterator[float]]
"""(rate per second, seed) -> seconds since the start, ascending."""


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Independent arrivals: exponential gaps, coefficient of variation 1."""
    return gamma(rate_per_s, 1.0, seed)


def gamma(rate_per_s: float, cv: float, seed: int) -> Iterator[float]:
    """Gamma gaps with mean 1 / rate and coefficient of variation `cv`: below 1 regular, above 1 bursty."""
    shape = 1 / cv**2
    generator = np.random.default_rng(seed)
    now_s = 0.0
    for _ in repeat(None):
        for gap_s in generator.gamma(shape, 1 / (rate_per_s * shape), _BATCH).tolist():
            now_s += gap_s
            yield now_s


def arrivals(text: str) -> Arrivals:
    """`poisson` or `gamma:CV`, as on the command line; anything else raises ValueError with what was expected."""
    name, _, cv = text.partition(":")
    if name == "poisson" and not cv:
        return poisson
    if name == "gamma":
        try:
            value = float(cv)
        except ValueError:
            value = math.nan
        if 0 < value < math.inf:
            return lambda rate_per_s, seed: gamma(rate_per_s, value, seed)
    raise ValueError(f"arrivals {text!r}; expected poisson or gamma:CV, such as gamma:2.5")
