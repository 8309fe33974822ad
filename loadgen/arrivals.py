"""When requests come: endless streams of arrival times, repeatable from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle, repeat

import numpy as np

_BATCH = 4096
DAY_S = 86_400.0

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


def mmpp(rate_per_s: float, factor: float, burst_s: float, calm_s: float, seed: int) -> Iterator[float]:
    """A Poisson process whose rate is `factor` times as high in bursts as between them (Markov-modulated, two states).

    Bursts and calms last exponential times with these means; the rate over both is `rate_per_s`. The first state is
    drawn as often as it occurs, so no moment is special.
    """
    generator = np.random.default_rng(seed)
    calm_rate = rate_per_s * (burst_s + calm_s) / (factor * burst_s + calm_s)
    states = [(calm_rate * factor, burst_s), (calm_rate, calm_s)]
    if generator.random() >= burst_s / (burst_s + calm_s):
        states.reverse()
    start_s = 0.0
    for rate, mean_s in cycle(states):
        length_s = generator.exponential(mean_s)
        inside = generator.random(generator.poisson(rate * length_s))
        inside.sort()
        yield from (start_s + length_s * inside).tolist()
        start_s += length_s


def diurnal(rate_per_s: float, amplitude: float, period_s: float, seed: int) -> Iterator[float]:
    """A Poisson process on a day's curve, rate * (1 - amplitude * cos(2 pi t / period)): it starts in the trough.

    Made by thinning (Lewis and Shedler 1979): arrivals at the peak's rate, each kept with the share of it due then.
    """
    generator = np.random.default_rng(seed)
    now_s = 0.0
    for _ in repeat(None):
        times = now_s + np.cumsum(generator.exponential(1 / (rate_per_s * (1 + amplitude)), _BATCH))
        due = 1 - amplitude * np.cos(times * (2 * math.pi / period_s))
        now_s = float(times[-1])
        yield from times[generator.random(_BATCH) * (1 + amplitude) < due].tolist()


def arrivals(text: str) -> Arrivals:
    """As on the command line; anything unknown raises ValueError with what was expected."""
    name, *words = text.split(":")
    try:
        figures = [float(word) for word in words]
    except ValueError:
        figures = [math.nan]
    sound = all(0 < figure < math.inf for figure in figures)
    match name, figures:
        case "poisson", []:
            return poisson
        case "gamma", [cv] if sound:
            return lambda rate_per_s, seed: gamma(rate_per_s, cv, seed)
        case "mmpp", [factor, burst_s, calm_s] if sound and factor > 1:
            return lambda rate_per_s, seed: mmpp(rate_per_s, factor, burst_s, calm_s, seed)
        case "diurnal", [amplitude, *period] if sound and amplitude <= 1 and len(period) <= 1:
            period_s = period[0] if period else DAY_S
            return lambda rate_per_s, seed: diurnal(rate_per_s, amplitude, period_s, seed)
    raise ValueError(
        f"arrivals {text!r}; expected poisson, gamma:CV, mmpp:FACTOR:BURST_S:CALM_S or diurnal:AMPLITUDE[:PERIOD_S], "
        "such as gamma:2.5, mmpp:10:30:300 or diurnal:0.6:86400"
    )
