"""What happened to one request, and the gaps between tokens: the raw material of a report."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from policies.api import Slo
from router.ledger import Outcome


@dataclass(frozen=True, slots=True)
class Result:
    """One request, from the side that sent it. Seconds count from its scheduled arrival.

    Attributes:
        prefill, decode: names of the workers that served it, empty where unknown; equal unless it was split.
    """

    arrival_s: float
    outcome: Outcome
    traffic_class: str = ""
    slo: Slo = field(default_factory=Slo)
    ttft_s: float | None = None
    e2e_s: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    prefix_hit_tokens: int = 0
    prefill: str = ""
    decode: str = ""
    message: str = ""

    @property
    def completed(self) -> bool:
        """Whether the whole answer arrived."""
        return self.outcome.column == "completed"

    @property
    def split(self) -> bool:
        """Whether two workers served it."""
        return self.prefill != self.decode

    @property
    def tpot_s(self) -> float | None:
        """(E2E - TTFT) / (n - 1); None for fewer than two tokens or an answer that did not arrive whole."""
        if not self.completed or self.ttft_s is None or self.e2e_s is None or self.output_tokens < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)

    @property
    def attained(self) -> bool:
        """Whether it completed within every limit set for it; a single token passes TPOT."""
        return (
            self.completed
            and _within(self.ttft_s, self.slo.ttft_s)
            and (self.output_tokens == 1 or _within(self.tpot_s, self.slo.tpot_s))
            and _within(self.e2e_s, self.slo.e2e_s)
        )

    @property
    def counts(self) -> bool:
        """Whether it counts towards attainment: a client that left is neither a hit nor a miss."""
        return self.outcome is not Outcome.CLIENT_CANCELLED


def _within(measured: float | None, limit: float | None) -> bool:
    return limit is None or (measured is not None and measured <= limit)


class Gaps:
    """Gaps between output tokens, each with how many tokens had it."""

    def __init__(self) -> None:
        self.gap_s = array("d")
        self.tokens = array("d")

    def add(self, gap_s: float, tokens: float = 1.0) -> None:
        """`tokens` tokens came `gap_s` after the ones before them."""
        self.gap_s.append(gap_s)
        self.tokens.append(tokens)

    def spread(self) -> Spread:
        """Mean and quantiles over tokens."""
        return spread(np.frombuffer(self.gap_s), np.frombuffer(self.tokens))


Spread = dict[str, float | None]
"""`mean, p50, p90, p99` of something in seconds; None where nothing was measured."""

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_DIGITS = 9


def spread(values: Sequence[float] | NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> Spread:
    """Quantiles are values that occurred: the least one that at least that share of the weight does not exceed."""
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return dict.fromkeys(("mean", *_SHARES))
    order = np.argsort(numbers, kind="stable")
    sorted_ = numbers[order]
    heaped = np.cumsum(np.ones(len(numbers)) if weights is None else weights[order])
    at = {name: int(np.searchsorted(heaped, share * heaped[-1] - 1e-9)) for name, share in _SHARES.items()}
    mean = math.fsum(numbers if weights is None else numbers * weights) / float(heaped[-1])
    return {"mean": round(mean, _DIGITS), **{name: round(float(sorted_[i]), _DIGITS) for name, i in at.items()}}
