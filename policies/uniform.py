"""`random`: any worker, each as likely as the other."""

from __future__ import annotations

from dataclasses import dataclass

from policies.api import FleetView, Placement, Request, draw
from policies.pair import decode_first


@dataclass(frozen=True, slots=True)
class Random:
    """A reproducible draw per request; `seed` makes another run of luck."""

    seed: int = 0

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """A pair drawn uniformly on each side, None while no worker is free."""
        return decode_first(
            request, fleet, now, lambda workers, side: workers[draw(self.seed, request, side, len(workers))]
        )
