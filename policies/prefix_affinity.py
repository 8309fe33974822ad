"""`prefix-affinity`: where the prompt would be prefilled soonest, what is cached there not counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.worker import Worker
from policies.api import FleetView, Placement, Request
from policies.pair import decode_first


@dataclass(frozen=True, slots=True)
class PrefixAffinity:
    """The least prompt tokens to go: those waiting at the worker, those of this prompt that it does not hold, and
    `decode_tokens` for each request in flight there; the fewest requests where that ties.

    Blind to speed and price: it shares out tokens. The last term lets a prompt head that everybody asks for spread to
    more workers: one that holds L tokens of it is passed over once it has L / `decode_tokens` requests more than
    another. A worker that only decodes counts as one that holds nothing; its prefill worker is chosen by the same rule.

    Attributes:
        decode_tokens: prompt tokens that a request in flight counts for. Our estimate, fitted to nothing.
    """

    decode_tokens: int = 256

    def __post_init__(self) -> None:
        if self.decode_tokens < 0:
            raise ValueError(f"decode_tokens must not be negative, but is {self.decode_tokens}")

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The chosen pair, None while no worker is free."""

        def soonest(workers: Sequence[Worker], side: int) -> Worker:
            requests = fleet.requests(workers)
            tokens = fleet.queued_tokens(workers) + self.decode_tokens * requests
            if request.prefix:
                tokens -= fleet.cached(request, workers)
            tied = (tokens == tokens[tokens.argmin()]).nonzero()[0]
            return workers[int(tied[requests[tied].argmin()])]

        return decode_first(request, fleet, now, soonest)
