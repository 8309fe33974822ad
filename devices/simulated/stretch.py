"""Iterations of one composition, each longer than the one before by the same seconds: an arithmetic series of times."""

from __future__ import annotations

import math


class Stretch:
    """Iteration j, from 1, ends at `start_s + j * gap_s + growth_s * j * (j - 1) / 2`."""

    __slots__ = ("gap_s", "growth_s", "iterations", "start_s")

    def __init__(self) -> None:
        self.start_s = math.inf
        self.gap_s = self.growth_s = 0.0
        self.iterations = 0

    def set(self, gap_s: float, growth_s: float, iterations: int) -> float:
        """What follows from `start_s` on; returns when it ends."""
        if not gap_s > 0:
            raise ValueError(f"an iteration of {gap_s} s: a predictor must answer more than 0")
        self.gap_s, self.growth_s, self.iterations = gap_s, growth_s, iterations
        return self.start_s + iterations * gap_s + growth_s * (iterations * (iterations - 1) // 2)

    def end_of(self, iteration: int) -> float:
        """When that iteration ends."""
        return self.start_s + iteration * self.gap_s + self.growth_s * (iteration * (iteration - 1) // 2)

    def ended_by(self, now: float) -> int:
        """Iterations that have ended at or before `now`: the root of a parabola, put right where it was rounded."""
        past_s = now - self.start_s
        if past_s <= 0 or self.iterations <= 1:
            return int(self.iterations == 1 and self.end_of(1) <= now)
        linear_s = self.gap_s - self.growth_s / 2
        ended = int(2 * past_s / (linear_s + math.sqrt(linear_s * linear_s + 2 * self.growth_s * past_s)))
        ended = min(ended, self.iterations)
        while ended < self.iterations and self.end_of(ended + 1) <= now:
            ended += 1
        while ended and self.end_of(ended) > now:
            ended -= 1
        return ended

    def cut(self, iterations: int) -> float:
        """Keep only so many; returns when it ends now."""
        self.iterations = iterations
        return self.end_of(iterations)

    def behead(self, iterations: int) -> None:
        """The first so many are told already: start after them."""
        self.start_s, self.gap_s, self.iterations = (
            self.end_of(iterations),
            self.gap_s + iterations * self.growth_s,
            self.iterations - iterations,
        )
