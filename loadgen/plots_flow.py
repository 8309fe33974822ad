"""Requests from prefill pools to decode pools: bands as wide as they are many."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from loadgen.plots import COLOURS, HEIGHT, WIDTH, count_text, short

_TOP, _BOTTOM, _BOX, _APART = 44.0, 12.0, 10.0, 8.0
_LEFT, _RIGHT = 112.0, WIDTH - 112.0
_LINE = 13.0
"""Height of a label: narrower boxes still get their own line."""


def flow(title: str, pools: Sequence[str], requests: Sequence[Sequence[int]]) -> str:
    """`requests[i][j]` were prefilled in pool i and decoded in pool j."""
    sent = [sum(row) for row in requests]
    taken = [sum(column) for column in zip(*requests, strict=True)]
    total = sum(sent)
    most = max(sum(1 for count in side if count) for side in (sent, taken))
    scale = (HEIGHT - _TOP - _BOTTOM - _APART * max(most - 1, 0)) / total if total else 0.0
    left, right = _tops(sent, scale), _tops(taken, scale)
    bands, out, into = [], dict(left), dict(right)
    for i, row in enumerate(requests):
        for j, count in enumerate(row):
            if count:
                name = f"{pools[i]} to {pools[j]}: {count:,} requests, {count / total:.1%}"
                bands.append(_band(out[i], into[j], count * scale, i, name))
                out[i] += count * scale
                into[j] += count * scale
    boxes = _boxes(left, sent, scale, pools, _LEFT, total) + _boxes(right, taken, scale, pools, _RIGHT, total)
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="8" y="16">{escape(title)}</text>'
        f'<text class="tick" x="{_LEFT:g}" y="34" text-anchor="end">prefill</text>'
        f'<text class="tick" x="{_RIGHT:g}" y="34">decode</text>{"".join(bands)}{boxes}</svg>'
    )


def _tops(counts: Sequence[int], scale: float) -> dict[int, float]:
    tops, at = {}, _TOP
    for number, count in enumerate(counts):
        if count:
            tops[number] = at
            at += count * scale + _APART
    return tops


def _band(start: float, end: float, width: float, number: int, name: str) -> str:
    first, last, middle = _LEFT + _BOX, _RIGHT - _BOX, (_LEFT + _RIGHT) / 2
    a, b, c, d = short(start), short(end), short(end + width), short(start + width)
    m = short(middle)
    return (
        f'<path class="ribbon p{number % COLOURS}" d="M{first:g} {a}C{m} {a} {m} {b} {last:g} {b}V{c}'
        f'C{m} {c} {m} {d} {first:g} {d}Z"><title>{escape(name)}</title></path>'
    )


def _boxes(
    tops: dict[int, float], counts: Sequence[int], scale: float, pools: Sequence[str], x: float, total: int
) -> str:
    """Boxes in the colour of their pool, their names outside, pushed apart where boxes are narrower than a line."""
    made, free = [], 0.0
    outside = x == _LEFT
    for number, top in tops.items():
        height = max(counts[number] * scale, 1.0)
        line = max(top + height / 2, free)
        free = line + _LINE
        text_x, anchor = (x - 5, "end") if outside else (x + 5, "start")
        label = f"{pools[number]} {count_text(counts[number])}"
        made.append(
            f'<rect class="p{number % COLOURS}" x="{short(x if outside else x - _BOX)}" y="{short(top)}" '
            f'width="{_BOX:g}" height="{short(height)}"><title>{counts[number] / total:.1%} of requests</title></rect>'
            f'<text class="tick" x="{short(text_x)}" y="{short(line)}" dy=".35em" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )
    return "".join(made)
