"""Hours of the week at which a price differs: off-peak windows of an API, cheap hours of a chip or of power."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HOURS_PER_DAY = 24
HOURS_PER_WEEK = 168


@dataclass(frozen=True, slots=True)
class WeekHours:
    """Intervals [start, end) in hours since Monday 00:00 UTC, ascending and apart; none wraps round the week."""

    intervals: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, windows: Iterable[str], weekdays: Iterable[int] = range(1, 8)) -> WeekHours:
        """From "HH:MM-HH:MM" windows that begin on ISO weekdays (1 is Monday); an end at or before its start is on
        the next day.
        """
        found: list[tuple[float, float]] = []
        for window in windows:
            start, end = map(_hours, window.split("-"))
            length = (end - start) % HOURS_PER_DAY or HOURS_PER_DAY
            for day in weekdays:
                begin = (day - 1) * HOURS_PER_DAY + start
                found += _cut(begin, begin + length)
        return cls(_joined(sorted(found)))

    def __contains__(self, week_hour: float) -> bool:
        hour = week_hour % HOURS_PER_WEEK
        return any(start <= hour < end for start, end in self.intervals)

    def __or__(self, other: WeekHours) -> WeekHours:
        return WeekHours(_joined(sorted(self.intervals + other.intervals)))

    @property
    def share(self) -> float:
        """Part of the week inside, 0 to 1."""
        return sum(end - start for start, end in self.intervals) / HOURS_PER_WEEK


def _hours(text: str) -> float:
    hours, minutes = text.split(":")
    return int(hours) + int(minutes) / 60


def _cut(begin: float, end: float) -> list[tuple[float, float]]:
    """In two where it runs over the end of Sunday."""
    if end <= HOURS_PER_WEEK:
        return [(begin, end)]
    return [(begin, float(HOURS_PER_WEEK)), (0.0, end - HOURS_PER_WEEK)]


def _joined(ordered: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    joined: list[tuple[float, float]] = []
    for start, end in ordered:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
