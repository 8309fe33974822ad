"""`cost-slo`: of the pairs that keep the promise the cheapest, else the soonest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from devices.worker import Worker
from policies.api import FleetView, Placement, Quote, Request, Slo
from policies.columns import Floats
from policies.offers import TOLERANCE


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
        """The chosen pair, None while no pair is free. It is the one that `scan` finds, whatever the fleet."""
        offers = fleet.offers(request, now)
        if offers is None:
            return self.scan(request, fleet, now)
        promise = _Promise.of(request, fleet, now)
        edge = self.margin * (1 + TOLERANCE)

        def usd_if_kept(ttft_s: Floats, tpot_s: Floats, usd: Floats) -> Floats:
            ranks = usd.copy()
            np.copyto(ranks, np.inf, where=promise.broken(ttft_s, tpot_s, edge))
            return ranks

        near = offers.least(usd_if_kept)
        if not near:
            near = offers.least(lambda ttft_s, tpot_s, usd: promise.overruns(ttft_s, tpot_s))
            return self._best(request, fleet, now, promise, near)[1]
        kept, placement = self._best(request, fleet, now, promise, near)
        # Only where the cheapest lies on the very edge, and a quote puts it beyond: the next one was not asked for.
        return placement if kept else self.scan(request, fleet, now)

    def scan(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The same choice by quoting every pair, decode workers in configuration order."""
        pairs = (
            (prefill, decode) for decode in fleet.decoders(request) for prefill in fleet.prefillers(request, decode)
        )
        return self._best(request, fleet, now, _Promise.of(request, fleet, now), pairs)[1]

    def _best(
        self, request: Request, fleet: FleetView, now: float, promise: _Promise, pairs: Iterable[tuple[Worker, Worker]]
    ) -> tuple[bool, Placement | None]:
        """The first of the best pairs, and whether it keeps the promise."""
        chosen: tuple[Worker, Worker, Quote] | None = None
        kept, least = False, inf
        for prefill, decode in pairs:
            quote = fleet.quote(request, prefill, decode, now)
            worst = overrun(quote, promise.slo, promise.output_tokens, promise.late_s)
            keeps = worst <= self.margin
            rank = quote.usd if keeps else worst
            if chosen is None or (keeps and not kept) or (keeps is kept and rank < least):
                chosen, kept, least = (prefill, decode, quote), keeps, rank
        return kept, None if chosen is None else Placement(*chosen)


@dataclass(slots=True)
class _Promise:
    """The twin of `meets` and `overrun` for many quotes at once."""

    slo: Slo
    output_tokens: float
    late_s: float

    @classmethod
    def of(cls, request: Request, fleet: FleetView, now: float) -> _Promise:
        """What the request is still owed."""
        return cls(request.slo, fleet.output_tokens(request), now - request.arrival_s)

    def broken(self, ttft_s: Floats, tpot_s: Floats, share: float) -> NDArray[np.bool_] | bool:
        """Whether they go beyond that share of any limit set."""
        slo = self.slo
        broken: NDArray[np.bool_] | bool = False
        if slo.ttft_s is not None:
            broken = ttft_s > share * slo.ttft_s - self.late_s
        if slo.tpot_s is not None:
            broken = broken | (tpot_s > share * slo.tpot_s)
        if slo.e2e_s is not None:
            broken = broken | (ttft_s + self._rest(tpot_s) > share * slo.e2e_s - self.late_s)
        return broken

    def overruns(self, ttft_s: Floats, tpot_s: Floats) -> Floats:
        """The worst ratio of predicted to promised seconds of each."""
        slo, soonest_s = self.slo, ttft_s + self.late_s
        worst = np.zeros_like(ttft_s)
        if slo.ttft_s is not None:
            worst = soonest_s / slo.ttft_s
        if slo.tpot_s is not None:
            worst = np.maximum(worst, tpot_s / slo.tpot_s)
        if slo.e2e_s is not None:
            worst = np.maximum(worst, (soonest_s + self._rest(tpot_s)) / slo.e2e_s)
        return worst

    def _rest(self, tpot_s: Floats) -> Floats:
        """From the first token to the last."""
        return max(self.output_tokens - 1, 0.0) * tpot_s


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
