"""Horizontal bars with their figures: one load, one bar per series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from loadgen.plots import COLOURS, WIDTH, Text, short, spread_text

_LINE, _TOP, _BAR = 34.0, 28.0, 12.0
_ROOM_FOR_TEXT = 128.0


@dataclass(frozen=True, slots=True)
class Bar:
    """`mean` is None where there is no such figure; `sd` is None where there was one run."""

    name: str
    number: int
    mean: float | None
    sd: float | None


def bars(title: str, found: Sequence[Bar], text: Text) -> str:
    """Each name above its bar, its figure behind it; whiskers are one standard deviation over seeds."""
    most = max((bar.mean + (bar.sd or 0) for bar in found if bar.mean is not None), default=0.0)
    scale = (WIDTH - 16 - _ROOM_FOR_TEXT) / most if most > 0 else 0.0
    height = _TOP + _LINE * len(found)
    rows = "".join(_bar(bar, _TOP + _LINE * place, scale, text) for place, bar in enumerate(found))
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="8" y="16">{escape(title)}</text>{rows}</svg>'
    )


def _bar(bar: Bar, top: float, scale: float, text: Text) -> str:
    name = f'<text class="tick" x="8" y="{short(top + 11)}">{escape(bar.name)}</text>'
    if bar.mean is None:
        return f'{name}<text class="tick" x="8" y="{short(top + 25)}">none: no answer kept its promise</text>'
    length, middle = bar.mean * scale, top + 15 + _BAR / 2
    spread = (bar.sd or 0) * scale
    whisker = (
        f'<path class="whisker" d="M{short(8 + length - spread)} {short(middle)}h{short(2 * spread)}"/>'
        if spread
        else ""
    )
    figure = spread_text(bar.mean, bar.sd, text)
    return (
        f'{name}<rect class="f{bar.number % COLOURS}" x="8" y="{short(top + 15)}" width="{short(max(length, 1))}" '
        f'height="{_BAR:g}"/>{whisker}'
        f'<text class="figure" x="{short(8 + length + spread + 6)}" y="{short(middle)}" '
        f'dy=".35em">{escape(figure)}</text>'
    )
