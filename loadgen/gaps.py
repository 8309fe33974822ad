"""Gaps between output tokens, each with how many tokens had it. Memory grows with runs of gaps, not with gaps."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.spread import SHARES, SLACK, Floats, Spread, written

Ints = NDArray[np.int64]

EXPANDED_GAPS = 1 << 20
"""So many gaps are written out and sorted, 24 MB; of more, the quantile is first narrowed down among their runs."""


class Gaps:
    """A run is an arithmetic progression: iterations of one batch, each reading a little more KV than the last."""

    def __init__(self) -> None:
        self.tokens = array("d")
        self.gap_s = array("d")
        self._growth_s = array("d")
        self._iterations = array("q")

    def add(self, gap_s: float, tokens: float = 1.0) -> None:
        """`tokens` tokens came `gap_s` after the ones before them."""
        self.tokens.append(tokens)
        self.gap_s.append(gap_s)
        self._growth_s.append(0.0)
        self._iterations.append(1)

    def add_run(self, gap_s: float, growth_s: float, iterations: int, tokens: float) -> None:
        """`iterations` times `tokens` tokens came: after `gap_s` at first, after `growth_s` more each time."""
        self.tokens.append(tokens)
        self.gap_s.append(gap_s)
        self._growth_s.append(growth_s)
        self._iterations.append(iterations)

    @property
    def total_tokens(self) -> float:
        """Tokens that came after another."""
        return math.fsum(np.array(self.tokens) * np.array(self._iterations))

    def runs(self) -> Runs:
        """A copy of all runs, none of them shrinking: one that does is told from its other end."""
        gap_s, growth_s = np.array(self.gap_s), np.array(self._growth_s)
        count = np.array(self._iterations, dtype=np.int64)
        shrinking = growth_s < 0
        gap_s = np.where(shrinking, gap_s + (count - 1) * growth_s, gap_s)
        keep = count > 0
        first = np.zeros(len(count), dtype=np.int64)
        return Runs(gap_s, np.abs(growth_s), first, count, np.array(self.tokens)).where(keep)

    def spread(self) -> Spread:
        """Mean and quantiles over tokens; a quantile is a gap that occurred."""
        runs = self.runs()
        if not len(runs.count):
            return written(None, {})
        weight = float(runs.weight(runs.count))
        return written(runs.sum_s() / weight, {name: runs.quantile(share * weight) for name, share in SHARES.items()})


@dataclass(frozen=True, slots=True)
class Runs:
    """Gaps `gap_s + j * growth_s` for `count` values of j from `first` on, `tokens` tokens having each of them."""

    gap_s: Floats
    growth_s: Floats
    first: Ints
    count: Ints
    tokens: Floats

    def where(self, keep: NDArray[np.bool_]) -> Runs:
        """Only these runs."""
        return Runs(self.gap_s[keep], self.growth_s[keep], self.first[keep], self.count[keep], self.tokens[keep])

    def weight(self, count: Ints) -> float:
        """Tokens of so many gaps of each run."""
        return float(np.dot(self.tokens, count))

    def sum_s(self) -> float:
        """Over all tokens, each run by the sum of its progression."""
        n = self.count.astype(np.float64)
        gaps_s = n * self.gap_s + self.growth_s * (n * (self.first + (n - 1) / 2))
        return math.fsum((gaps_s * self.tokens).tolist())

    def expanded(self) -> tuple[Floats, Floats]:
        """Every gap and its tokens."""
        at = np.repeat(np.arange(len(self.count)), self.count)
        ends = np.cumsum(self.count)
        j = np.arange(len(at)) - np.repeat(ends - self.count - self.first, self.count)
        return self.gap_s[at] + j * self.growth_s[at], self.tokens[at]

    def quantile(self, target: float, expanded: int = EXPANDED_GAPS) -> float:
        """The least gap that at least `target` tokens do not exceed; `target` is above 0.

        Exact selection: a gap that occurs is taken for a pivot, runs are cut where they pass it, and only the side
        that holds the answer is kept, until few enough gaps are left to be sorted.
        """
        runs, below = self, 0.0
        while runs.count.sum() > expanded:
            pivot = runs._pivot_s()
            less, up_to = runs._less(pivot), runs._up_to(pivot)
            if target - SLACK <= below + runs.weight(less):
                runs = runs._cut(np.zeros_like(less), less)
            elif target - SLACK <= below + runs.weight(up_to):
                return pivot
            else:
                below += runs.weight(up_to)
                runs = runs._cut(up_to, runs.count)
        gaps_s, tokens = runs.expanded()
        order = np.argsort(gaps_s, kind="stable")
        heaped = below + np.cumsum(tokens[order])
        return float(gaps_s[order[min(int(np.searchsorted(heaped, target - SLACK)), len(order) - 1)]])

    def _pivot_s(self) -> float:
        """A middle gap: of evenly spaced runs, the one at half of each, the median by tokens."""
        some = slice(None, None, max(1, len(self.count) // 1000))
        gaps_s = (self.gap_s + (self.first + self.count // 2) * self.growth_s)[some]
        order = np.argsort(gaps_s)
        heaped = np.cumsum((self.tokens * self.count)[some][order])
        return float(gaps_s[order[np.searchsorted(heaped, heaped[-1] / 2)]])

    def _less(self, than_s: float) -> Ints:
        """How many gaps of each run are smaller; the greatest float below takes the place of `<`."""
        return self._up_to(math.nextafter(than_s, -math.inf))

    def _up_to(self, most_s: float) -> Ints:
        """How many gaps of each run are at most that; gaps are compared as they would be computed, not solved for."""
        all_of_them = self.gap_s + (self.first + self.count - 1) * self.growth_s <= most_s
        crossing = np.flatnonzero(~all_of_them & (self.gap_s + self.first * self.growth_s <= most_s))
        found = np.where(all_of_them, self.count, 0)
        found[crossing] = self._crossed(crossing, most_s)
        return found

    def _crossed(self, at: Ints, most_s: float) -> Ints:
        """For runs that begin at or below and end above it; bisection, for a step may be smaller than rounding."""
        gap_s, growth_s, first = self.gap_s[at], self.growth_s[at], self.first[at]
        low, high = first.copy(), first + self.count[at] - 1  # low is within, high is not
        guess = first + np.clip(np.floor((most_s - gap_s) / growth_s) - first, 0, self.count[at] - 2).astype(np.int64)
        for candidate in (guess, guess + 1):
            within = gap_s + candidate * growth_s <= most_s
            low = np.where(within, np.maximum(low, candidate), low)
            high = np.where(within, high, np.minimum(high, candidate))
        while (open_ := high - low > 1).any():
            middle = (low + high) // 2
            within = gap_s + middle * growth_s <= most_s
            low, high = np.where(open_ & within, middle, low), np.where(open_ & ~within, middle, high)
        return low - first + 1

    def _cut(self, start: Ints, stop: Ints) -> Runs:
        """Of each run the gaps from number `start` to before `stop`; runs of which nothing is left are gone."""
        return Runs(self.gap_s, self.growth_s, self.first + start, stop - start, self.tokens).where(stop > start)
