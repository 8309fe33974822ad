"""`round-robin`: the next worker in turn, whatever it is and does."""

from __future__ import annotations

from dataclasses import dataclass

from policies.api import FleetView, Placement, Request
from policies.pair import decode_first


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Decode workers in turn; prefill workers too where decode cannot prefill for itself."""

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The pair whose turn it is, None while no worker is free."""
        turn = fleet.turn()
        return decode_first(request, fleet, now, lambda workers, _: workers[turn % len(workers)])
