"""Choosing the two sides of a pair one after the other, as routers that score a single worker do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devices.worker import Phase, Worker
from policies.api import FleetView, Placement, Request

DECODE_SIDE, PREFILL_SIDE = 0, 1

Choose = Callable[[Sequence[Worker], int], Worker]
"""(workers, side) -> one of them; the side numbers the draw, so that the two choices are independent."""


def decode_first(request: Request, fleet: FleetView, now: float, choose: Choose) -> Placement | None:
    """Choose a decode worker; it prefills too if it can, else choose among those that can hand KV over to it.

    Every worker that can be of use is reachable this way. None when no pair is free at the moment.
    """
    reachable = fleet.reachable(request)
    if not reachable:
        return None
    decode = choose(reachable, DECODE_SIDE)
    prefill = decode
    if not decode.serves(Phase.PREFILL):
        prefill = choose(fleet.prefillers(request, decode), PREFILL_SIDE)
    return Placement(prefill, decode, fleet.quote(request, prefill, decode, now))
