"""`least-load`: the worker with the fewest requests in flight, by our own count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.worker import Worker
from policies.api import FleetView, Placement, Request, draw
from policies.pair import decode_first


@dataclass(frozen=True, slots=True)
class LeastLoad:
    """Requests in flight are counted as equal, and so are workers: what speed-blind routers do."""

    seed: int = 0

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        """The least loaded on each side; ties fall to a draw, so that equals share."""

        def least(workers: Sequence[Worker], side: int) -> Worker:
            turned = draw(self.seed, request, side, len(workers))
            requests = fleet.requests(workers)
            tied = (requests == requests.min()).nonzero()[0]
            return workers[int(tied[tied.searchsorted(turned) % len(tied)])]

        return decode_first(request, fleet, now, least)
