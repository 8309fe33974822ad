"""The error table of predictions against measurements, each row predicted without having been seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.calibration.held_out import Held, Progress, held_iterations, held_loops
from devices.calibration.samples import group_name, iteration_groups
from devices.calibration.scores import Score, score
from devices.fits.measurements import EndToEnd, Iteration, Measurement

QUANTITIES = ("tpot", "ttft", "ms")
UNDECLARED = "the source does not say how many workers shared the load"


@dataclass(frozen=True, slots=True)
class Line:
    """Some rows, and the score of each quantity they have."""

    name: str
    rows: int
    scores: dict[str, Score]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {"rows": self.rows} | {quantity: score.plain() for quantity, score in self.scores.items()}


@dataclass(frozen=True, slots=True)
class Table:
    """All of it.

    Attributes:
        overall: every row, and so are the lines by device, engine, kind and group, and `prior`.
        declared, undeclared: the same rows, by whether they say how many workers shared the load.
        prior: with all rows of the row's own system left out: what an unmeasured device would get.
    """

    overall: Line
    by_device: list[Line]
    by_engine: list[Line]
    by_kind: list[Line]
    by_group: list[Line]
    prior: Line
    declared: Line
    undeclared: Line
    seed: int

    def plain(self) -> dict[str, object]:
        """For JSON."""

        def each(lines: Sequence[Line]) -> dict[str, object]:
            return {line.name: line.plain() for line in lines}

        return {
            "overall": self.overall.plain(),
            "by_device": each(self.by_device),
            "by_engine": each(self.by_engine),
            "by_kind": each(self.by_kind),
            "by_group": each(self.by_group),
            "prior": self.prior.plain(),
            "declared": self.declared.plain(),
            "undeclared": self.undeclared.plain() | {"why": UNDECLARED},
            "seed": self.seed,
        }


def validated(rows: Sequence[Measurement], reference: Sequence[Measurement], seed: int, progress: Progress) -> Table:
    """Score iterations and closed loops among `rows`; `reference` is what may be fitted to besides."""
    held = list(_held(rows, reference, progress, whole_device=False))
    prior = list(_held(rows, reference, progress, whole_device=True))
    declared, undeclared = [h for h in held if _declared(h)], [h for h in held if not _declared(h)]
    return Table(
        overall=_line("overall", held, seed),
        by_device=_lines(held, lambda held: held.row.setup.device.id, seed),
        by_engine=_lines(held, lambda held: held.row.setup.engine, seed),
        by_kind=_lines(held, lambda held: held.row.kind, seed),
        by_group=_lines(held, _group, seed),
        prior=_line("prior", prior, seed),
        declared=_line("workers declared", declared, seed),
        undeclared=_line("workers undeclared", undeclared, seed),
        seed=seed,
    )


def _held(
    rows: Sequence[Measurement], reference: Sequence[Measurement], progress: Progress, *, whole_device: bool
) -> list[Held]:
    iterations = [row for row in rows if isinstance(row, Iteration)]
    loops = [row for row in rows if isinstance(row, EndToEnd)]
    found: list[Held] = []
    if iterations:
        others = [row for row in reference if isinstance(row, Iteration)]
        found += held_iterations(iterations, others, progress, whole_device=whole_device)
    if loops:
        known = [row for row in reference if isinstance(row, EndToEnd)]
        found += held_loops(loops, known, progress, whole_device=whole_device)
    return found


def _declared(held: Held) -> bool:
    return not isinstance(held.row, EndToEnd) or held.row.declared


def _group(held: Held) -> str:
    row = held.row
    if isinstance(row, EndToEnd):
        return group_name(row.setup, row.kind)
    return f"{iteration_groups(row)['group']} / {row.kind}"


def _lines(held: Sequence[Held], name: Callable[[Held], str], seed: int) -> list[Line]:
    members: dict[str, list[Held]] = {}
    for one in held:
        members.setdefault(name(one), []).append(one)
    return [_line(key, members[key], seed) for key in sorted(members)]


def _line(name: str, held: Sequence[Held], seed: int) -> Line:
    scores: dict[str, Score] = {}
    for quantity in QUANTITIES:
        some = [(pair, _group(one)) for one in held if (pair := getattr(one, quantity)) is not None]
        found = score([pair for pair, _ in some], [group for _, group in some], seed)
        if found is not None:
            scores[quantity] = found
    return Line(name, len(held), scores)
