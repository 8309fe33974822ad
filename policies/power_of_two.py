"""`power-of-two`: two workers at random, the less loaded of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.worker import Worker
from policies.api import FleetView, Placement, Request, draw
from policies.pair import decode_first


@dataclass(frozen=True, slots=True)
class PowerOfTwo:
    """Two choices keep the longest queue short without looking at all of them (Mitzenmacher 2001)."""

    seed: int = 0

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The less loaded of two different draws on each side; the only worker if there is one."""

        def better(workers: Sequence[Worker], side: int) -> Worker:
            count = len(workers)
            first = draw(self.seed, request, 2 * side, count)
            other = (first + 1 + draw(self.seed, request, 2 * side + 1, count - 1)) % count if count > 1 else first
            return min(workers[first], workers[other], key=lambda worker: fleet.load(worker).requests)

        return decode_first(request, fleet, now, better)
