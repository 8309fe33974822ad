"""Measurements made ready to be fitted: terms, seconds, groups, and what must be left out together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.calibration.closed_loop import Loop
from devices.fits.measurements import EndToEnd, Iteration, Setup
from devices.fits.pooled import Floats, Form, Groups, Pooled, fit
from devices.fits.terms import Shape, Work
from devices.profile import DeviceProfile, ModelProfile, Precision


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of one quantity; all fields run over the same rows.

    Attributes:
        chips, models: rows with the same entry are the same system, the same model: folds leave out by them.
        weights: a row published several times counts once.
    """

    terms: Floats
    seconds: Floats
    groups: Sequence[Groups]
    chips: NDArray[np.str_]
    models: NDArray[np.str_]
    weights: Floats

    def fitted(self, form: Form, rows: NDArray[np.bool_]) -> Pooled:
        """The fit to some of the rows."""
        chosen = [groups for groups, use in zip(self.groups, rows, strict=True) if use]
        return fit(form, self.terms[rows], self.seconds[rows], chosen, self.weights[rows])

    def predicted(self, pooled: Pooled, rows: Iterable[int]) -> Floats:
        return np.array([pooled.seconds(self.terms[row], self.groups[row]) for row in rows])


def chip_key(device: DeviceProfile) -> str:
    """Devices that differ in nothing but their power limit are the same system: one's rows give the other's away."""
    return f"{device.bandwidth_bytes_per_s:g} B/s, {max(device.flops_per_s.values(), default=0):g} FLOP/s"


def model_key(model: ModelProfile) -> str:
    """Models of one shape are the same model under several names: DeepSeek V3, R1 and V3.1."""
    return f"{model.layers} x {model.hidden}, {model.experts} experts"


def identity(row: Iteration | EndToEnd) -> tuple[object, ...]:
    """The same for the same published row, whichever file it was read from."""
    if isinstance(row, EndToEnd):
        return row.id, row.setup.device.id, row.concurrency, row.ttft_s, row.tpot_s
    load = (row.decodes, row.kv_tokens, row.prompts, row.new_tokens, row.context_tokens)
    return row.source, row.setup.device.id, row.setup.model.id, row.setup.version, row.split, load, row.seconds


def iteration_samples(rows: Sequence[Iteration]) -> Samples:
    """Whole iterations."""
    return _samples(
        [row.setup for row in rows],
        [iteration_terms(row) for row in rows],
        [iteration_groups(row) for row in rows],
        [row.seconds for row in rows],
    )


def iteration_terms(row: Iteration) -> list[float]:
    """Ideal seconds of one iteration; sources of whole iterations keep their cache in 16 bits."""
    work = Work(row.decodes, row.kv_tokens, row.prompts, row.new_tokens, row.context_tokens)
    return Shape.of(row.setup, row.split, Precision.FP16).seconds(work)


def iteration_groups(row: Iteration) -> Groups:
    """A stack is engine and version with the source that measured it: sources differ in what they count."""
    setup = row.setup
    stack = f"{setup.engine} {setup.version}".strip()
    return {
        "stack": stack,
        "device": setup.device.id,
        "mixture": _yes(setup.model.experts > 0),
        "kind": row.kind,
        "group": f"{setup.device.id} / {setup.model.id} / {stack}",
    }


def step_samples(loops: Sequence[Loop]) -> Samples:
    """Mean iterations of closed loops, by the time per output token."""
    rows = [loop.row for loop in loops]
    return _samples(
        [row.setup for row in rows],
        [loop.step for loop in loops],
        [loop_groups(row) for row in rows],
        [row.tpot_s for row in rows],
    )


def first_samples(loops: Sequence[Loop], tpot_s: Sequence[float]) -> Samples:
    """First tokens of closed loops, given predictions of their steps."""
    rows = [loop.row for loop in loops]
    terms = [loop.first_token(step_s) for loop, step_s in zip(loops, tpot_s, strict=True)]
    return _samples(
        [row.setup for row in rows], terms, [loop_groups(row) for row in rows], [row.ttft_s for row in rows]
    )


def loop_groups(row: EndToEnd) -> Groups:
    """What the row is."""
    setup, split = row.setup, row.decode.split
    return {
        "engine": setup.engine,
        "version": f"{setup.engine} {setup.version}".strip(),
        "device": setup.device.id,
        "precision": setup.precision.value,
        "mixture": _yes(setup.model.experts > 0),
        "sharded": _yes(split.experts_sharded),
        "replicated": _yes(split.replicas > 1),
        "group": group_name(setup, row.kind),
    }


def group_name(setup: Setup, kind: str) -> str:
    """Rows that share everything but load and parallelism."""
    parts = (setup.device.id, setup.model.id, setup.engine, setup.precision.value, setup.version or "-", kind)
    return " / ".join(parts)


def _samples(
    setups: Sequence[Setup], terms: Sequence[Sequence[float]], groups: Sequence[Groups], seconds: Sequence[float]
) -> Samples:
    chips = [chip_key(setup.device) for setup in setups]
    same = [(chip, *ideal, second) for chip, ideal, second in zip(chips, terms, seconds, strict=True)]
    times = Counter(same)
    return Samples(
        terms=np.array(terms, dtype=float).reshape(len(setups), -1),
        seconds=np.array(seconds, dtype=float),
        groups=groups,
        chips=np.array(chips),
        models=np.array([model_key(setup.model) for setup in setups]),
        weights=np.array([1 / times[key] for key in same]),
    )


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
