"""One simulated worker of a fleet in virtual time, and the requests on their way through it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from devices.simulated.engine import Sequence, SimulatedWorker, State
from devices.worker import Worker
from loadgen.trace import Row
from policies.api import Placement, Request


@dataclass(slots=True, eq=False)
class Flight:
    """One attempt at a request, on its way.

    Attributes:
        number: in order of submission; decides between events of one moment.
        call_id: what workers call it.
        sequence: the leg that decodes, None while only the prefill leg runs or an API answers.
        first_s: when its first token came, NaN before.
        gap_s: between two tokens of an API's answer.
        shown_tokens: of an answer that broke off.
        told_tokens: how much of the answer the scheduler has heard of.
        hit_tokens: prompt tokens found in a prefix cache.
    """

    number: int
    row: Row
    request: Request
    call_id: str
    placement: Placement | None = None
    sequence: Sequence | None = None
    first_s: float = math.nan
    gap_s: float = 0.0
    shown_tokens: int = 0
    told_tokens: int = 0
    hit_tokens: int = 0


@dataclass(slots=True, eq=False)
class Site:
    """One engine and what the driver remembers of it.

    Attributes:
        number: in the order of the fleet; decides between events of one moment.
        due_s: the time of its event that counts; others in the heap are stale.
        handovers: decode legs whose KV has not been seen to leave the prefill worker.
    """

    number: int
    worker: Worker
    engine: SimulatedWorker
    due_s: float = math.inf
    handovers: list[Flight] = field(default_factory=list)

    def arriving(self) -> list[tuple[float, Flight]]:
        """Decode legs that have been admitted since the last call, and when their KV arrives."""
        found, waiting = [], []
        for flight in self.handovers:
            sequence = flight.sequence
            if sequence is not None and sequence.state is State.WAITING and math.isnan(sequence.kv_ready_s):
                waiting.append(flight)
            elif sequence is not None:
                found.append((sequence.kv_ready_s, flight))
        self.handovers = waiting
        return found
