"""A simulated worker that others use too: what it tells of itself is about our sequences only, what it does is not."""

from __future__ import annotations

from dataclasses import replace

from devices.simulated.engine import Sequence, SimulatedWorker, Step
from devices.worker import Limits, Predictor


class ForeignSequence(Sequence):
    """A sequence of somebody else's."""

    __slots__ = ()


class SharedWorker(SimulatedWorker):
    """Gaps between tokens are counted by the token, so a step that both have tokens in says how many are ours. That
    needs every sequence of an iteration listed, which is why not all workers of a simulation are of this kind.
    """

    def __init__(self, predictor: Predictor, limits: Limits, *, lease_s: float) -> None:
        super().__init__(predictor, limits, lease_s=lease_s, list_decoded=True)

    def advance(self, now: float) -> list[Step]:
        """As if the others' sequences had no tokens."""
        return [_ours(step) for step in super().advance(now)]


def _ours(step: Step) -> Step:
    decoded, first, resumed = tuple(_own(step.decoded)), _own(step.first), _own(step.resumed)
    return replace(
        step,
        tokens=len(decoded) * step.iterations,
        continuing=len(decoded) - len(first) - len(resumed),
        first=first,
        finished=_own(step.finished),
        marked=_own(step.marked),
        resumed=resumed,
        decoded=decoded,
    )


def _own(sequences: list[Sequence] | tuple[Sequence, ...]) -> list[Sequence]:
    return [sequence for sequence in sequences if not isinstance(sequence, ForeignSequence)]
