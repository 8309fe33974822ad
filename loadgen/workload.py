"""A workload is an iterator of rows: a trace replayed, or lengths with made arrivals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from loadgen.arrivals import arrivals
from loadgen.lengths import Lognormal
from loadgen.mix import Mix, WorkloadError, mix
from loadgen.presets import Preset
from loadgen.trace import Row, TraceError, chained, has_arrivals, lengths, rows, window

__all__ = ["INPUT", "OUTPUT", "Mix", "Workload", "WorkloadError", "mix"]

INPUT, OUTPUT = Lognormal(1024, 1.0), Lognormal(140, 0.9)
"""Lengths where none are given: about the medians and spread of the Azure 2023 conversation trace."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What to replay. With `rate_per_s` arrivals are made, and a trace gives its lengths only, over and over.

    Attributes:
        rate_per_s: of requests; where a preset is named and no rate, the preset's.
        start_s: of the trace's own time.
        duration_s: of the replay, after `rate_scale`; needed where arrivals are made.
        arrivals: as `loadgen.arrivals` reads them; of a preset, how its sessions begin.
    """

    trace: Path | None = None
    rate_per_s: float | None = None
    arrivals: str = "poisson"
    input: Lognormal = INPUT
    output: Lognormal = OUTPUT
    start_s: float = 0.0
    duration_s: float = math.inf
    rate_scale: float = 1.0
    seed: int = 0
    preset: Preset | None = None

    def rows(self) -> Iterator[Row]:
        """The requests, in order of arrival, their ids chained. Raises WorkloadError or TraceError."""
        return chained(self.unchained())

    def unchained(self) -> Iterator[Row]:
        """The same with ids as a file may hold them: written and read again they make the same `rows`."""
        if self.preset is not None and self.trace is not None:
            raise WorkloadError("--workload and --trace both say what to send: leave one out")
        if self.rate_per_s is not None:
            if math.isinf(self.duration_s):
                raise WorkloadError("made arrivals never end: give --duration S with --rate or --workload")
            if self.start_s:
                raise WorkloadError("--start is a moment of a trace's own arrivals: leave it out with made arrivals")
            return self._made(self.rate_per_s * self.rate_scale)
        if self.trace is None:
            raise WorkloadError("nothing to send: give --trace FILE, --rate R or --workload NAME")
        if not has_arrivals(self.trace):
            raise TraceError(f"{self.trace}:1: no arrivals, lengths only: add --rate R to make arrivals")
        return window(rows(self.trace), self.start_s, self.duration_s, self.rate_scale)

    def _made(self, rate_per_s: float) -> Iterator[Row]:
        if self.preset is not None:
            return window(self.preset.sessions.rows(rate_per_s, self.arrivals, self.seed), duration_s=self.duration_s)
        return self._drawn(rate_per_s)

    def _drawn(self, rate_per_s: float) -> Iterator[Row]:
        shapes = self._shapes()
        for index, arrival_s in enumerate(arrivals(self.arrivals)(rate_per_s, self.seed)):
            if arrival_s >= self.duration_s:
                return
            shape = next(shapes)
            yield Row(index, arrival_s, shape.input_tokens, shape.output_tokens, shape.hash_ids, shape.client)

    def _shapes(self) -> Iterator[Row]:
        if self.trace is not None:
            for lap in count():
                yield from chained(lengths(self.trace), lap) if lap else lengths(self.trace)
        # Seeds differ, or prompts and answers would be as long as each other and as the gaps are wide.
        prompts, answers = self.input.tokens(self.seed + 1), self.output.tokens(self.seed + 2)
        for prompt_tokens, answer_tokens in zip(prompts, answers, strict=False):
            yield Row(0, 0.0, prompt_tokens, answer_tokens)
