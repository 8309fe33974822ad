"""Figures of the catalogue as people write them: GB, TFLOP/s, ms. The unit is read off the name of the figure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum

_UNITS = (
    ("flops_per_s", (("TFLOP/s", 1e12),)),
    ("_bytes_per_s", (("TB/s", 1e12), ("GB/s", 1e9))),
    ("_bytes", (("GB", 1e9), ("MB", 1e6))),
    ("_s", (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))),
    ("_w", (("W", 1.0),)),
    ("_kw", (("kW", 1.0),)),
    ("usd", (("USD", 1.0),)),
)
_TINY = 1e-12


def figure_text(name: str, value: object) -> str:
    """One figure with its unit; formats and buckets as a list."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Enum():
            return str(value.value)
        case Mapping():
            return ", ".join(f"{figure_text('', key)} {figure_text(name, item)}" for key, item in value.items())
        case tuple() | Set():
            return ", ".join(sorted_text(value))
        case int() | float():
            return _number(name, float(value))
    return str(value)


def sorted_text(values: tuple[object, ...] | Set[object]) -> list[str]:
    """Sets have no order of their own; tuples keep theirs."""
    texts = [figure_text("", value) for value in values]
    return texts if isinstance(values, tuple) else sorted(texts)


def _number(name: str, value: float) -> str:
    for ending, units in _UNITS:
        if name.endswith(ending) or (ending == "usd" and name.startswith(ending)):
            unit, scale = next(((unit, scale) for unit, scale in units if abs(value) >= scale), units[-1])
            return f"{_plain(value / scale)} {unit}" if abs(value) > _TINY else f"0 {unit}"
    return _plain(value)


def _plain(value: float) -> str:
    """Up to four digits that matter, never in powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
