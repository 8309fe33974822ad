"""What is fitted, how strongly it is held together, and how it is tested on rows it has not seen.

Penalties were chosen by leaving out each model of each system in turn on public samples (`docs/calibration.md`); within
a factor of three of these values the median error moves by less than two percentage points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from devices.calibration.closed_loop import FIRST_CENTRE, FIRST_TERMS, Loop
from devices.calibration.samples import Samples, first_samples, identity, iteration_samples, step_samples
from devices.fits.measurements import EndToEnd, Iteration
from devices.fits.pooled import Category, Form, Pooled
from devices.fits.terms import TERMS

CENTRE = dict.fromkeys(TERMS, 1.0) | {
    "dense": 1.2,
    "experts": 1.5,
    "kv": 1.2,
    "decode_flops": 2.0,
    "prompt_flops": 2.0,
    "pairs": 2.0,
    "sequences": 0.5,
    "transfer": 2.0,
}
"""Expected factors: memory at 80 % of its peak, arithmetic at half of it."""

ITERATION_FORM = Form(
    TERMS,
    tuple((CENTRE | {"prompt_launch": 1.0, "launch": 2.0}).values()),
    (
        Category("stack", 3, 1),
        Category("device", 10, 30),
        Category("mixture", 10, 30),
        Category("kind", 10, 30),
        Category("group", 25, None),
    ),
    pull=3,
)
STEP_FORM = Form(
    TERMS,
    tuple((CENTRE | {"bulk": 0.3}).values()),
    (
        Category("engine", 50, 200),
        Category("device", 50, 200),
        Category("precision", 50, 200),
        Category("mixture", 10, 30),
        Category("sharded", 100, 300),
        Category("replicated", 100, 300),
        Category("group", 25, None),
    ),
)
FIRST_FORM = Form(
    FIRST_TERMS,
    FIRST_CENTRE,
    (
        Category("engine", 10, 30),
        Category("version", 5, 10),
        Category("device", 10, 30),
        Category("precision", 10, 30),
        Category("mixture", 3, 10),
        Category("sharded", 30, 100),
        Category("replicated", 10, 30),
        Category("group", 5, None),
    ),
    pull=10,
    width=0.2,
)

Progress = Callable[[str], None]
Row = TypeVar("Row", Iteration, EndToEnd)


@dataclass(frozen=True, slots=True)
class LoopFits:
    """Fits of closed loops: the step, and the first token where one pool does both phases and where two do."""

    step: Pooled
    first: Pooled
    first_split: Pooled


@dataclass(frozen=True, slots=True)
class Held:
    """A row with a prediction by a fit that has not seen it, nor any other row of its model on its system."""

    row: Iteration | EndToEnd
    ms: tuple[float, float] | None = None
    tpot: tuple[float, float] | None = None
    ttft: tuple[float, float] | None = None


def fit_iterations(rows: Sequence[Iteration]) -> Pooled:
    """All rows together."""
    samples = iteration_samples(rows)
    return samples.fitted(ITERATION_FORM, np.ones(len(rows), dtype=bool))


def fit_loops(rows: Sequence[EndToEnd]) -> LoopFits:
    """All rows that say how they were deployed."""
    data = LoopData.of([row for row in rows if row.declared])
    return data.fitted(np.ones(len(data.loops), dtype=bool))


@dataclass(frozen=True, slots=True)
class LoopData:
    """Closed loops taken apart once, to be fitted many times."""

    loops: list[Loop]
    steps: Samples
    split: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[EndToEnd]) -> LoopData:
        loops = [Loop.of(row) for row in rows]
        return cls(loops, step_samples(loops), np.array([row.prefill is not None for row in rows], dtype=bool))

    def fitted(self, rows: NDArray[np.bool_]) -> LoopFits:
        """The first token is fitted on top of what the step fit predicts, as it will be used.

        Where prompts run elsewhere it is another quantity, with a hand-over in it; where no such row is left to fit to,
        the other fit has to do.
        """
        rows = rows & np.array([loop.row.declared for loop in self.loops])
        step = self.steps.fitted(STEP_FORM, rows)
        firsts = self.firsts(step)
        together, apart = rows & ~self.split, rows & self.split
        return LoopFits(
            step=step,
            first=firsts.fitted(FIRST_FORM, together if together.any() else rows),
            first_split=firsts.fitted(FIRST_FORM, apart if apart.any() else rows),
        )

    def firsts(self, step: Pooled) -> Samples:
        return first_samples(self.loops, self.steps.predicted(step, range(len(self.loops))).tolist())


def held_iterations(
    rows: Sequence[Iteration], reference: Sequence[Iteration], progress: Progress, *, whole_device: bool = False
) -> Iterator[Held]:
    """Each of `rows` predicted from the others and `reference`; `whole_device` leaves out all rows of its system."""
    everything = _joined(rows, reference)
    samples = iteration_samples(everything)
    for chosen, seen, name in _folds(samples, len(rows), whole_device):
        progress(name)
        pooled = samples.fitted(ITERATION_FORM, seen)
        for row, second in zip(chosen, samples.predicted(pooled, chosen), strict=True):
            yield Held(everything[row], ms=(everything[row].seconds, float(second)))


def held_loops(
    rows: Sequence[EndToEnd], reference: Sequence[EndToEnd], progress: Progress, *, whole_device: bool = False
) -> Iterator[Held]:
    """The same for closed loops."""
    everything = _joined(rows, reference)
    data = LoopData.of(everything)
    for chosen, seen, name in _folds(data.steps, len(rows), whole_device):
        progress(name)
        fits = data.fitted(seen)
        step_s = data.steps.predicted(fits.step, chosen)
        firsts = data.firsts(fits.step)
        for row, tpot_s in zip(chosen, step_s, strict=True):
            measured = everything[row]
            first = fits.first_split if measured.prefill else fits.first
            ttft_s = first.seconds(firsts.terms[row], firsts.groups[row])
            yield Held(measured, tpot=(measured.tpot_s, float(tpot_s)), ttft=(measured.ttft_s, ttft_s))


def _joined(rows: Sequence[Row], reference: Sequence[Row]) -> list[Row]:
    """`rows` first; what both have counts once."""
    known: set[tuple[object, ...]] = {identity(row) for row in rows}
    joined: list[Row] = list(rows)
    joined.extend(row for row in reference if identity(row) not in known)
    return joined


def _folds(samples: Samples, count: int, whole_device: bool) -> Iterator[tuple[list[int], NDArray[np.bool_], str]]:
    """Of the first `count` rows, those of one fold; which of all rows may be fitted to; and what is left out."""
    chips, models = samples.chips, samples.models
    systems = zip(chips[:count].tolist(), models[:count].tolist(), strict=True)
    keys = sorted({(chip, "" if whole_device else model) for chip, model in systems})
    for number, (chip, model) in enumerate(keys, start=1):
        out = (chips == chip) & (whole_device | (models == model))
        if out.all():
            continue  # nothing else to learn from
        chosen = np.flatnonzero(out[:count]).tolist()
        group = samples.groups[chosen[0]]["group"]
        yield chosen, ~out, f"{number} of {len(keys)}: without {group.split(' / ')[0] if whole_device else group}"
