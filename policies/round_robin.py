"""`round-robin`: the next worker in turn, whatever it is and does."""

from __future__ import annotations

from dataclasses import dataclass

from policies.api import FleetView, Placement, Request
from policies.pair import decode_first


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Decode workers in turn; prefill workers in turn too where decode cannot prefill for itself."""

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The pair whose turn it is, None while no worker is free."""
        turn = fleet.turn()
        # One step per round of the decoders, or those that meet the same prefill worker in each round leave others out.
        turns = turn, turn // max(len(fleet.decoders(request)), 1)
        return decode_first(request, fleet, now, lambda workers, side: workers[turns[side] % len(workers)])
