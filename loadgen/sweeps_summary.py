"""Mean and standard deviation over seeds, for every fleet, rate and policy of a sweep."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from loadgen.report import Json
from loadgen.sweeps import Point

_DIGITS = 9


def summary(points: Sequence[Point], reports: Sequence[Json]) -> list[Json]:
    """In the order of the grid. `sd` is of a sample, None for fewer than two seeds with that figure."""
    cells: dict[tuple[object, ...], tuple[Json, list[Json]]] = {}
    for point, report in zip(points, reports, strict=True):
        cell = point.cell()
        cells.setdefault(tuple(cell.values()), (cell, []))[1].append(report)
    return [_line(cell, group) for cell, group in cells.values()]


def _line(cell: Json, reports: Sequence[Mapping[str, Any]]) -> Json:
    return {
        **cell,
        "seeds": len(reports),
        "offered_rps": _over([report["offered_rps"] for report in reports]),
        "slo_attainment": _over([report["slo_attainment"] for report in reports]),
        "goodput_rps": _over([report["goodput_rps"] for report in reports]),
        "ttft_p99_s": _over([report["ttft_s"]["p99"] for report in reports]),
        "tpot_p99_s": _over([report["tpot_s"]["p99"] for report in reports]),
        "usd_per_mtok_good": _over([report["usd_per_mtok_good"] for report in reports]),
    }


def _over(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": round(statistics.fmean(known), _DIGITS) if known else None,
        "sd": round(statistics.stdev(known), _DIGITS) if len(known) > 1 else None,
    }
