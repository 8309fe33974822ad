"""Small SVG charts: scales, ticks and one panel of lines, bands and stacks. Colours are classes of the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

Points = Sequence[tuple[float, float]]
Text = Callable[[float], str]

WIDTH, HEIGHT = 380.0, 236.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 14.0, 40.0, 40.0
COLOURS = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")
MARKS = (
    "M-3.4 0A3.4 3.4 0 1 0 3.4 0A3.4 3.4 0 1 0-3.4 0Z",
    "M-3-3H3V3H-3Z",
    "M0-4L4 3H-4Z",
    "M0-4.4L4.4 0L0 4.4L-4.4 0Z",
)
_DECADES_WITH_STEPS = 2.2
_UNSEEN = 0.15
"""Pixels."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From figures to a length on paper; the ends of `domain` lie at the ends of `span`."""

    domain: tuple[float, float]
    span: tuple[float, float]
    log: bool = False

    def at(self, value: float) -> float:
        """Clipped to the span: what is off the paper is drawn at its edge."""
        low, high = self.domain
        share = math.log(max(value, low) / low) / math.log(high / low) if self.log else (value - low) / (high - low)
        first, last = self.span
        return first + min(max(share, 0.0), 1.0) * (last - first)

    @property
    def ticks(self) -> list[float]:
        """Round figures inside the domain."""
        return log_ticks(*self.domain) if self.log else linear_ticks(*self.domain)


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; 2 and 5 times them too where there are few, every second one where there are many."""
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < _DECADES_WITH_STEPS else (1,)
    every = max(1, math.ceil(decades / 6))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers if power % every == 0 for step in steps]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]


def rounded_up(value: float) -> float:
    """A little above, at a tick: the top of an axis."""
    return linear_ticks(0, value * 1.02 + 1e-12)[-1] + linear_ticks(0, value * 1.02 + 1e-12)[1] if value > 0 else 1.0


@dataclass(slots=True, eq=False)
class Panel:
    """One chart. Marks are added in drawing order; `svg` frames them with axes whose ticks carry the unit."""

    title: str
    x: Scale
    y: Scale
    x_label: str
    x_text: Text
    y_text: Text
    marks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        title: str,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        x_text: Text,
        y_text: Text,
        *,
        log_x: bool = False,
        log_y: bool = False,
    ) -> Panel:
        """With the standard size."""
        across = Scale(x, (LEFT, WIDTH - RIGHT), log_x)
        return cls(title, across, Scale(y, (HEIGHT - BOTTOM, TOP), log_y), x_label, x_text, y_text)

    def line(self, points: Points, number: int, name: str, *, marks: bool = False) -> None:
        """The line of series `number`: its colour, its dashes, its marks."""
        dash = DASHES[number % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        path = self._path(points)
        self.marks.append(
            f'<path class="line s{number % COLOURS}"{dashed} d="{path}"><title>{escape(name)}</title></path>'
        )
        if marks:
            for x, y in points:
                place = f"translate({short(self.x.at(x))} {short(self.y.at(y))})"
                text = escape(f"{name}: {self.y_text(y)} at {self.x_text(x)}")
                self.marks.append(
                    f'<path class="f{number % COLOURS}" transform="{place}" d="{MARKS[number % len(MARKS)]}">'
                    f"<title>{text}</title></path>"
                )

    def band(self, low: Points, high: Points, number: int) -> None:
        """From `low` to `high`, in the colour of the series."""
        outline = self._path([*high, *reversed(low)])
        self.marks.append(f'<path class="band f{number % COLOURS}" d="{outline}Z"/>')

    def area(self, top: Points, number: int, name: str) -> None:
        """One layer of a stack in the colour of a pool, down to the axis: the next lower layer is drawn over it."""
        bottom, right, left = short(self.y.span[0]), self.x.at(top[-1][0]), self.x.at(top[0][0])
        outline = f"{self._path(top)}L{short(right)} {bottom}H{short(left)}Z"
        self.marks.append(f'<path class="area p{number % COLOURS}" d="{outline}"><title>{escape(name)}</title></path>')

    def limit(self, x: float, text: str) -> None:
        """A vertical line with its meaning above it."""
        at = self.x.at(x)
        anchor = "start" if at < LEFT + 60 else "end" if at > WIDTH - 70 else "middle"
        self.marks.append(
            f'<path class="limit" d="M{short(at)} {TOP:g}V{HEIGHT - BOTTOM:g}"/>'
            f'<text class="tick limit-text" x="{short(at)}" y="{TOP - 5:g}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def guide(self, points: Points, text: str) -> None:
        """A thin line to compare with."""
        self.marks.append(f'<path class="guide" d="{self._path(points)}"><title>{escape(text)}</title></path>')

    def svg(self) -> str:
        """The whole chart."""
        return (
            f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(self.title)}">'
            f'<text class="title" x="8" y="16">{escape(self.title)}</text>'
            f"{self._axes()}{''.join(self.marks)}</svg>"
        )

    def _path(self, points: Points) -> str:
        """Straight pieces from point to point; points that would not be seen apart are left out."""
        made: list[str] = []
        last_x, last_y = math.inf, math.inf
        for point in points:
            x, y = round(self.x.at(point[0]), 1), round(self.y.at(point[1]), 1)
            across, down = x - last_x, y - last_y
            if made and abs(across) + abs(down) < _UNSEEN:
                continue
            made.append(f"M{pair(x, y)}" if not made else _step(across, down))
            last_x, last_y = x, y
        return "".join(made)

    def _axes(self) -> str:
        bottom = HEIGHT - BOTTOM
        lines, texts = [], []
        for tick in self.y.ticks:
            at = short(self.y.at(tick))
            lines.append(f"M{LEFT:g} {at}H{WIDTH - RIGHT:g}")
            texts.append(
                f'<text class="tick" x="{LEFT - 5:g}" y="{at}" dy=".35em" text-anchor="end">{self.y_text(tick)}</text>'
            )
        for tick in self.x.ticks:
            at = short(self.x.at(tick))
            lines.append(f"M{at} {bottom:g}v4")
            anchor = "end" if self.x.at(tick) > WIDTH - RIGHT - 12 else "middle"
            texts.append(
                f'<text class="tick" x="{at}" y="{bottom + 16:g}" text-anchor="{anchor}">{self.x_text(tick)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        texts.append(
            f'<text class="tick" x="{middle:g}" y="{HEIGHT - 6:g}" text-anchor="middle">{escape(self.x_label)}</text>'
        )
        return f'<path class="grid" d="{"".join(lines)}"/>{"".join(texts)}'


def _step(across: float, down: float) -> str:
    if abs(down) < _UNSEEN / 2:
        return f"h{short(across)}"
    return f"v{short(down)}" if abs(across) < _UNSEEN / 2 else f"l{pair(across, down)}"


def short(value: float) -> str:
    """A tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


def pair(x: float, y: float) -> str:
    """Two figures, with the space between them only where it is needed."""
    second = short(y)
    return f"{short(x)}{'' if second.startswith('-') else ' '}{second}"


def seconds_text(value: float) -> str:
    """`20 ms`, `1.5 s`, `2 min`."""
    if value >= 120:
        return f"{value / 60:.3g} min"
    if value >= 1 or value == 0:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 0.9995e-3 else f"{value * 1e6:.3g} µs"


def spread_text(mean: float, sd: float | None, text: Text) -> str:
    """`1.3 s ± 0.12 s`: of a deviation no one reads more than two digits."""
    return text(mean) + (f" ± {text(float(f'{sd:.2g}'))}" if sd else "")


def count_text(value: float) -> str:
    """`950`, `12k`, `3.5M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def share_text(value: float) -> str:
    """`99.5%`."""
    return f"{value * 100:.4g}%"


def usd_text(value: float) -> str:
    """`$0.42`, `$12`."""
    return f"${value:.3g}" if value < 1000 else f"${value:,.0f}"
