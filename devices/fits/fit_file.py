"""A fit as a file: what was fitted to what, when, how well, and every factor by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from devices.fits.pooled import Category, Effect, Form, Pooled

FORMAT = 1
DIGITS = 4
"""Decimals kept of a logarithm: 0.01 % of a factor, far below any error here."""


class FitFileError(ValueError):
    """Not a fit of this format; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class GroupError:
    """Rows of one group, and how far the fit is off on them: having seen them, and not.

    Attributes:
        seen, held: median and 90th percentile of the absolute relative error; `held` is None where nothing was left to
            fit to.
    """

    rows: int
    chips: tuple[int, ...]
    seen: tuple[float, float]
    held: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class FitFile:
    """One fitted quantity: "iteration", "tpot", "ttft" or "ttft-split"."""

    quantity: str
    made: str
    sources: tuple[str, ...]
    rows: int
    pooled: Pooled
    groups: Mapping[str, GroupError]


def to_yaml(fit: FitFile) -> str:
    """As it is shipped."""
    pooled = fit.pooled
    plain = {
        "format": FORMAT,
        "quantity": fit.quantity,
        "made": fit.made,
        "sources": list(fit.sources),
        "rows": fit.rows,
        "pull": pooled.form.pull,
        "width": pooled.form.width,
        "categories": {c.name: {"scale": c.scale, "terms": c.terms} for c in pooled.form.categories},
        "centre": dict(zip(pooled.form.terms, pooled.form.centre, strict=True)),
        "base": _by_term(pooled.form, pooled.base),
        "effects": _effects(pooled),
        "groups": {name: _group(group) for name, group in sorted(fit.groups.items())},
    }
    text: str = yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False, width=120, default_flow_style=None)
    return f"# Written by `tokenyard devices fit`. Effects are logarithms of factors; see docs/calibration.md\n{text}"


def from_yaml(text: str, name: str) -> FitFile:
    """The fit in `text`; `name` is for complaints. Raises `FitFileError`."""
    plain = yaml.load(text, yaml.CSafeLoader)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise FitFileError(f"{name}: not a fit of format {FORMAT}; write it again with `tokenyard devices fit`")
    try:
        return _read(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise FitFileError(f"{name}: incomplete: {error!r}") from None


def _read(plain: Mapping[str, Any]) -> FitFile:
    terms = tuple(plain["centre"])
    categories = tuple(Category(name, c["scale"], c["terms"]) for name, c in plain["categories"].items())
    form = Form(terms, tuple(plain["centre"].values()), categories, plain["pull"], plain["width"])
    effects = {
        (category, label): Effect(effect["scale"], _from_terms(terms, effect.get("terms")))
        for category, labels in plain["effects"].items()
        for label, effect in labels.items()
    }
    return FitFile(
        quantity=plain["quantity"],
        made=str(plain["made"]),
        sources=tuple(plain["sources"]),
        rows=plain["rows"],
        pooled=Pooled(form, tuple(plain["base"][term] for term in terms), effects),
        groups={name: _from_group(group) for name, group in plain["groups"].items()},
    )


def _effects(pooled: Pooled) -> dict[str, dict[str, dict[str, object]]]:
    made: dict[str, dict[str, dict[str, object]]] = {}
    for (category, label), effect in pooled.effects.items():
        entry: dict[str, object] = {"scale": round(effect.scale, DIGITS)}
        if effect.terms is not None:
            entry["terms"] = _by_term(pooled.form, effect.terms)
        made.setdefault(category, {})[label] = entry
    return made


def _by_term(form: Form, values: tuple[float, ...]) -> dict[str, float]:
    return {term: round(value, DIGITS) for term, value in zip(form.terms, values, strict=True)}


def _from_terms(terms: tuple[str, ...], values: Mapping[str, float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values[term] for term in terms)


def _group(group: GroupError) -> dict[str, object]:
    return {
        "rows": group.rows,
        "chips": list(group.chips),
        "seen": [round(x, 3) for x in group.seen],
        "held": [round(x, 3) for x in group.held] if group.held else None,
    }


def _from_group(group: Mapping[str, Any]) -> GroupError:
    held = tuple(group["held"]) if group["held"] else None
    return GroupError(group["rows"], tuple(group["chips"]), tuple(group["seen"]), held)
