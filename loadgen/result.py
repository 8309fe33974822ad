"""What happened to one request."""

from __future__ import annotations

from dataclasses import dataclass, field

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
