"""`round-robin`: the next worker in turn, whatever it is and does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.worker import Worker
from policies.api import FleetView, Placement, Request
from policies.pair import DECODE_SIDE, decode_first


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Decode workers in turn; prefill workers in turn too where decode cannot prefill for itself."""

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The pair whose turn it is, None while no worker is free."""
        turn = fleet.turn()

        def next_of(workers: Sequence[Worker], side: int) -> Worker:
            if side == DECODE_SIDE:
                return workers[turn % len(workers)]
            # One step per round of the decoders, or those that meet the same prefill worker in each round leave others
            # out.
            return workers[turn // len(fleet.decoders(request)) % len(workers)]

        return decode_first(request, fleet, now, next_of)
