"""From measurements to fit files, with the error of each group: on rows seen and on rows left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from devices.calibration.held_out import (
    Held,
    LoopData,
    Progress,
    fit_iterations,
    held_iterations,
    held_loops,
)
from devices.calibration.samples import Samples, group_name, iteration_groups, iteration_samples
from devices.fits.fit_file import FitFile, GroupError
from devices.fits.measurements import EndToEnd, Iteration, Measurement
from devices.fits.pooled import Pooled

Errors = Mapping[str, tuple[float, float]]


def fits(rows: Sequence[Measurement], made: str, progress: Progress) -> dict[str, FitFile]:
    """File names and fits of whatever can be fitted in `rows`; `made` is the date they will carry."""
    iterations = [row for row in rows if isinstance(row, Iteration)]
    loops = [row for row in rows if isinstance(row, EndToEnd) and row.declared]
    found: dict[str, FitFile] = {}
    if iterations:
        found["iteration.yaml"] = _iteration_fit(iterations, made, progress)
    if loops:
        found |= _loop_fits(loops, made, progress)
    return found


def _iteration_fit(rows: Sequence[Iteration], made: str, progress: Progress) -> FitFile:
    held = _errors(held_iterations(rows, (), progress), "ms")
    sources = sorted({row.source.split(":")[0] for row in rows})
    chips = [(str(iteration_groups(row)["group"]), row.split.chips) for row in rows]
    pooled = fit_iterations(rows)
    groups = _groups(iteration_samples(rows), pooled, chips, held)
    return FitFile("iteration", made, tuple(sources), len(rows), pooled, groups)


def _loop_fits(rows: Sequence[EndToEnd], made: str, progress: Progress) -> dict[str, FitFile]:
    held = list(held_loops(rows, (), progress))
    data = LoopData.of(rows)
    fitted = data.fitted(np.ones(len(rows), dtype=bool))
    firsts = data.firsts(fitted.step)
    chips = [(group_name(row.setup, row.kind), row.decode.split.chips) for row in rows]
    sources = ("ai-dynamo/aiconfigurator silicon_sample.csv (InferenceX)",)

    def made_of(quantity: str, samples: Samples, pooled: Pooled, kinds: tuple[str, ...], attribute: str) -> FitFile:
        errors = _errors((one for one in held if one.row.kind in kinds), attribute)
        groups = {
            name: group
            for name, group in _groups(samples, pooled, chips, errors).items()
            if name.endswith(tuple(f" / {kind}" for kind in kinds))
        }
        return FitFile(quantity, made, sources, sum(group.rows for group in groups.values()), pooled, groups)

    return {
        "tpot.yaml": made_of("tpot", data.steps, fitted.step, ("agg", "disagg"), "tpot"),
        "ttft.yaml": made_of("ttft", firsts, fitted.first, ("agg",), "ttft"),
        "ttft-split.yaml": made_of("ttft-split", firsts, fitted.first_split, ("disagg",), "ttft"),
    }


def _errors(held: Iterable[Held], quantity: str) -> Errors:
    """Median and 90th percentile of each group's error, left out."""
    found: dict[str, list[float]] = {}
    for one in held:
        measured, predicted = getattr(one, quantity)
        row = one.row
        name = group_name(row.setup, row.kind) if isinstance(row, EndToEnd) else iteration_groups(row)["group"]
        found.setdefault(name, []).append(abs(predicted / measured - 1))
    return {name: _two(errors) for name, errors in found.items()}


def _groups(samples: Samples, pooled: Pooled, chips: Sequence[tuple[str, int]], held: Errors) -> dict[str, GroupError]:
    errors = np.abs(samples.predicted(pooled, range(len(chips))) / samples.seconds - 1)
    seen: dict[str, list[float]] = {}
    used: dict[str, set[int]] = {}
    for (name, count), error in zip(chips, errors.tolist(), strict=True):
        seen.setdefault(name, []).append(error)
        used.setdefault(name, set()).add(count)
    found: dict[str, GroupError] = {}
    for name, some in seen.items():
        found[name] = GroupError(len(some), tuple(sorted(used[name])), _two(some), held.get(name))
    return found


def _two(errors: Sequence[float]) -> tuple[float, float]:
    return float(np.median(errors)), float(np.quantile(errors, 0.9))
