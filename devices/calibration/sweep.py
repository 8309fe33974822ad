"""An iteration model fitted to one endpoint, from a sweep of prompt lengths and concurrency seen from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devices.fits.nnls import nnls
from devices.fits.pooled import Floats


@dataclass(frozen=True, slots=True)
class Cell:
    """`concurrency` requests sent together.

    Attributes:
        ttft_s: of the fastest of them: of a request alone, how long its prompt takes.
        step_s: between tokens of the request that started last, when all of them decode.
    """

    prompt_tokens: int
    concurrency: int
    output_tokens: int
    ttft_s: float
    step_s: float

    @property
    def kv_tokens(self) -> float:
        """Tokens of KV the batch holds half-way through."""
        return self.concurrency * (self.prompt_tokens + self.output_tokens / 2)


@dataclass(frozen=True, slots=True)
class SweepFit:
    """Seconds of a decode step and of a first token:

        step:  fixed_s + sequence_s * B + kv_s * K
        first: first_s + token_s * min(P, knee) + beyond_s * max(P - knee, 0) + pair_s * P^2 / 2

    Attributes:
        step_error, first_error: median absolute relative error over the cells it was fitted to.
    """

    fixed_s: float
    sequence_s: float
    kv_s: float
    first_s: float
    token_s: float
    beyond_s: float
    pair_s: float
    knee_tokens: int
    step_error: float
    first_error: float

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.fixed_s + self.sequence_s * sequences + self.kv_s * kv_tokens

    def first_token_s(self, prompt_tokens: int) -> float:
        """Of a request on an idle endpoint, its front end included."""
        below = min(prompt_tokens, self.knee_tokens)
        beyond = prompt_tokens - below
        linear = self.token_s * below + self.beyond_s * beyond
        return self.first_s + linear + self.pair_s * prompt_tokens**2 / 2


def sweep_fit(cells: Sequence[Cell]) -> SweepFit:
    """Needs two batches and two prompt lengths at least; errors count relatively, no coefficient is negative."""
    if len({cell.concurrency for cell in cells}) < 2 or len({cell.prompt_tokens for cell in cells}) < 2:
        raise ValueError("a fit needs at least two concurrencies and two prompt lengths")
    steps = np.array([cell.step_s for cell in cells])
    decode = np.array([[1.0, cell.concurrency, cell.kv_tokens] for cell in cells])
    of_step, step_error = _relative(decode, steps)
    alone = [cell for cell in cells if cell.concurrency == min(c.concurrency for c in cells)]
    of_first, knee, first_error = _first(alone)
    fixed_s, sequence_s, kv_s = map(float, of_step)
    first_s, token_s, beyond_s, pair_s = map(float, of_first)
    return SweepFit(
        fixed_s=fixed_s,
        sequence_s=sequence_s,
        kv_s=kv_s,
        first_s=first_s,
        token_s=token_s,
        beyond_s=beyond_s,
        pair_s=pair_s,
        knee_tokens=knee,
        step_error=step_error,
        first_error=first_error,
    )


def _first(cells: Sequence[Cell]) -> tuple[Floats, int, float]:
    """The knee is the prompt length that leaves the least error; the longest one is no knee at all."""
    seconds = np.array([cell.ttft_s for cell in cells])
    lengths = np.array([float(cell.prompt_tokens) for cell in cells])
    best: tuple[float, int, Floats] | None = None
    for knee in sorted({cell.prompt_tokens for cell in cells}, reverse=True)[:-1]:
        below = np.minimum(lengths, knee)
        columns = np.column_stack([np.ones_like(lengths), below, lengths - below, lengths**2 / 2])
        found, error = _relative(columns, seconds)
        if best is None or error < 0.8 * best[0]:  # a knee must earn its coefficient
            best = error, knee, found
    assert best is not None  # two lengths at least
    return best[2], best[1], best[0]


def _relative(columns: Floats, seconds: Floats) -> tuple[Floats, float]:
    found = nnls(columns / seconds[:, None], np.ones_like(seconds))
    return found, float(np.median(np.abs(columns @ found / seconds - 1)))
