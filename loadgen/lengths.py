"""How long prompts and answers are where no trace says: lognormal, the usual shape of published traces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Token counts with median `p50_tokens`; `sigma` is the deviation of their logarithm, 0 for a fixed length.

    `most_tokens` cuts the tail, which has no end in theory but has one in every model's context.
    """

    p50_tokens: float
    sigma: float = 0.0
    most_tokens: int = 32_768

    def tokens(self, seed: int) -> Iterator[int]:
        """Endless lengths, each 1 or more."""
        generator = np.random.default_rng(seed)
        for _ in repeat(None):
            drawn = generator.lognormal(math.log(self.p50_tokens), self.sigma, _BATCH)
            yield from np.clip(np.rint(drawn), 1, self.most_tokens).astype(int).tolist()


def lognormal(text: str) -> Lognormal:
    """`P50` or `P50:SIGMA`, as on the command line; anything else raises ValueError with what was expected."""
    p50, _, sigma = text.partition(":")
    try:
        made = Lognormal(float(p50), float(sigma or 0))
    except ValueError:
        made = Lognormal(math.nan)
    if not (1 <= made.p50_tokens <= made.most_tokens and 0 <= made.sigma <= 10):
        raise ValueError(f"length {text!r}; expected P50 or P50:SIGMA in tokens, such as 512 or 512:0.8")
    return made
