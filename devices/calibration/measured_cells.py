"""Cells of one row, each read as what it must be."""

from __future__ import annotations

import math
from collections.abc import Mapping


class CellError(ValueError):
    """A cell does not hold what its column means; the reader adds file and line."""


class Row:
    """One row; every question names the column, so every complaint can."""

    def __init__(self, cells: Mapping[str, str]) -> None:
        self._cells = cells

    def text(self, column: str) -> str:
        return self._cells[column].strip()

    def has(self, column: str) -> bool:
        """Whether the cell says anything."""
        return bool(self.text(column))

    def number(self, column: str, default: float | None = None) -> float:
        """A finite number; an empty cell is `default`, or an error."""
        cell = self.text(column)
        if not cell and default is not None:
            return default
        try:
            value = float(cell)
        except ValueError:
            raise CellError(f"{column}: '{cell}' is not a number") from None
        if not math.isfinite(value):
            raise CellError(f"{column}: {cell} is not finite")
        return value

    def positive(self, column: str) -> float:
        value = self.number(column)
        if value <= 0:
            raise CellError(f"{column}: {value:g} is not positive")
        return value

    def count(self, column: str, default: int | None = None) -> int:
        """A whole number, 0 or more; upstream writes some of them as 8.0."""
        value = self.number(column, None if default is None else float(default))
        if value != int(value) or value < 0:
            raise CellError(f"{column}: {value:g} is not a count")
        return int(value)

    def milliseconds(self, column: str) -> float:
        """As seconds; must be positive."""
        return self.positive(column) / 1e3

    def milliseconds_or_none(self, column: str) -> float | None:
        """As seconds; None where the cell is empty."""
        return self.milliseconds(column) if self.has(column) else None
