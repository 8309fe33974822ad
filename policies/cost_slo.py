"""`cost-slo`: of the pairs that keep the promise the cheapest, else the soonest."""

from __future__ import annotations

from dataclasses import dataclass

from devices.worker import Worker
from policies.api import FleetView, Placement, Quote, Request, Slo


@dataclass(frozen=True, slots=True)
class CostSlo:
    """Scores prefill and decode worker together, in seconds and dollars; one worker for both is one of the pairs.

    Attributes:
        margin: share of each limit a quote may use up and still count as keeping it. Below 1, because packing
            requests to the edge of a promise breaks it whenever a prediction is a little wrong.
    """

    margin: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.margin <= 1:
            raise ValueError(f"margin must be above 0 and at most 1, not {self.margin}")

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The chosen pair, None while no pair is free."""
        best: tuple[tuple[bool, float], Worker, Worker, Quote] | None = None
        output_tokens = fleet.output_tokens(request)
        for decode in fleet.decoders(request):
            for prefill in fleet.prefillers(request, decode):
                quote = fleet.quote(request, prefill, decode, now)
                late = now - request.arrival_s
                kept = meets(quote, request.slo, output_tokens, late, self.margin)
                rank = (not kept, quote.usd if kept else overrun(quote, request.slo, output_tokens, late))
                if best is None or rank < best[0]:
                    best = rank, prefill, decode, quote
        return None if best is None else Placement(best[1], best[2], best[3])


def meets(quote: Quote, slo: Slo, output_tokens: float, late_s: float, margin: float) -> bool:
    """Whether the quote stays within `margin` of every limit set, `late_s` seconds after arrival."""
    return overrun(quote, slo, output_tokens, late_s) <= margin


def overrun(quote: Quote, slo: Slo, output_tokens: float, late_s: float) -> float:
    """The worst ratio of predicted to promised seconds; 0 where nothing was promised."""
    ttft_s = late_s + quote.ttft_s
    e2e_s = ttft_s + max(output_tokens - 1, 0) * quote.tpot_s
    worst = 0.0
    if slo.ttft_s is not None:
        worst = ttft_s / slo.ttft_s
    if slo.tpot_s is not None:
        worst = max(worst, quote.tpot_s / slo.tpot_s)
    if slo.e2e_s is not None:
        worst = max(worst, e2e_s / slo.e2e_s)
    return worst
