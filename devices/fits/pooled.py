"""One fit over many systems: times are sums of scaled terms, and every group of measurements may scale them a little.

    t_i = sum over terms j of  exp(b_j + sum over groups g of (s_g + c_gj)) * x_ij

The groups g of a row are what it is (engine, device, precision, mixture or not, ...). `s_g` scales all its terms,
`c_gj` one of them; both are drawn to 0 by a penalty, so a group with little data stays near its parents, and a group
never seen is its parents. All factors are positive by construction. Errors count relatively (logarithms) and robustly:
beyond some 15 % a row pulls ever less (Cauchy), because published sets hold rows that measure something else. Solved
by Gauss-Newton with damping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Groups = Mapping[str, str]
"""Category to label: {"engine": "vllm", "device": "h100-sxm", ...}; a missing category has no effect."""


@dataclass(frozen=True, slots=True)
class Category:
    """How strongly groups of a kind are drawn to their parents: 1 / variance of their effects; None for no effect."""

    name: str
    scale: float
    terms: float | None


@dataclass(frozen=True, slots=True)
class Form:
    """What is fitted.

    Attributes:
        centre: expected factor of each term, where the fit starts and what it is drawn to by `pull`.
        width: relative error beyond which a row pulls less.
    """

    terms: tuple[str, ...]
    centre: tuple[float, ...]
    categories: tuple[Category, ...]
    pull: float = 30.0
    width: float = 0.15


@dataclass(frozen=True, slots=True)
class Effect:
    """What a group changes: logarithms."""

    scale: float
    terms: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Pooled:
    """A fit that can be asked about any groups, seen or not."""

    form: Form
    base: tuple[float, ...]
    effects: Mapping[tuple[str, str], Effect]

    def factors(self, groups: Groups) -> Floats:
        """What each term counts for such a row."""
        logs = np.array(self.base)
        for category in self.form.categories:
            effect = self.effects.get((category.name, groups.get(category.name, "")))
            if effect is not None:
                logs = logs + effect.scale + (np.array(effect.terms) if effect.terms else 0.0)
        factors: Floats = np.exp(logs)
        return factors

    def seconds(self, terms: Sequence[float], groups: Groups) -> float:
        """The prediction."""
        return float(np.asarray(terms, dtype=float) @ self.factors(groups))


def fit(form: Form, terms: Floats, seconds: Floats, groups: Sequence[Groups], weights: Floats) -> Pooled:
    """Rows of `terms` (ideal seconds) against measured `seconds`."""
    problem = _Problem.of(form, terms, seconds, groups, weights)
    return problem.named(_solved(problem))


@dataclass(frozen=True, slots=True)
class _Kind:
    """Rows whose groups are all the same: they share their factors, so they enter the equations as one small matrix.

    Attributes:
        rows: which ones.
        scales: unknowns that scale all their terms.
        unknowns, parts: every unknown that touches them, and its slope: the share of that term, or 1 (the last).
    """

    rows: NDArray[np.int64]
    scales: NDArray[np.int64]
    unknowns: NDArray[np.int64]
    parts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Problem:
    """Unknowns lie as: one per term, one scale per group, then the terms of every group that has them."""

    form: Form
    terms: Floats
    logs: Floats
    weights: Floats
    kinds: list[_Kind]
    labels: tuple[tuple[str, str], ...]
    detailed: Mapping[int, int]
    middle: Floats
    pull: Floats

    @classmethod
    def of(cls, form: Form, terms: Floats, seconds: Floats, groups: Sequence[Groups], weights: Floats) -> _Problem:
        of_name = {category.name: category for category in form.categories}
        named = [tuple((name, row[name]) for name in of_name if name in row) for row in groups]
        column: dict[tuple[str, str], int] = {}
        for labels in named:
            for label in labels:
                column.setdefault(label, len(column))
        count = len(form.terms)
        with_terms = [number for (name, _), number in column.items() if of_name[name].terms is not None]
        first = count + len(column)
        detailed = {number: first + place * count for place, number in enumerate(with_terms)}
        penalties = [of_name[name] for name, _ in column]
        return cls(
            form=form,
            terms=np.maximum(terms, 1e-12),  # a term that never occurs must not become log 0
            logs=np.log(seconds),
            weights=weights / form.width**2,
            kinds=_kinds(named, column, detailed, count),
            labels=tuple(column),
            detailed=detailed,
            middle=np.concatenate([np.log(form.centre), np.zeros(len(column) + len(detailed) * count)]),
            pull=np.concatenate(
                [
                    np.full(count, float(form.pull)),
                    np.array([penalty.scale for penalty in penalties]),
                    np.repeat([penalties[number].terms or 0.0 for number in with_terms], count),
                ]
            ),
        )

    def amounts(self, unknowns: Floats) -> Floats:
        """Scaled terms of every row."""
        count = len(self.form.terms)
        result = np.empty_like(self.terms)
        for kind in self.kinds:
            logs = np.full(count, unknowns[kind.scales].sum())
            np.add.at(logs, kind.parts[kind.parts < count], unknowns[kind.unknowns[kind.parts < count]])
            result[kind.rows] = self.terms[kind.rows] * np.exp(logs)
        return result

    def misses(self, amounts: Floats) -> Floats:
        """Measured minus predicted, logarithms."""
        result: Floats = self.logs - np.log(amounts.sum(1))
        return result

    def loss(self, misses: Floats, unknowns: Floats) -> float:
        width = self.form.width
        rows = self.weights * width**2 * np.log1p((misses / width) ** 2)
        return float(rows.sum() + (self.pull * (unknowns - self.middle) ** 2).sum())

    def equations(self, amounts: Floats, misses: Floats, unknowns: Floats) -> tuple[Floats, Floats]:
        """Curvature and slope of the loss, halved. The slope of a logarithm by a log factor is its term's share."""
        shares = np.column_stack([amounts / amounts.sum(1, keepdims=True), np.ones(len(amounts))])
        weight = self.weights / (1 + (misses / self.form.width) ** 2)
        curve = np.diag(self.pull)
        slope = -self.pull * (unknowns - self.middle)
        for kind in self.kinds:
            some, weights = shares[kind.rows], weight[kind.rows]
            inner = some.T @ (some * weights[:, None])
            curve[np.ix_(kind.unknowns, kind.unknowns)] += inner[np.ix_(kind.parts, kind.parts)]
            slope[kind.unknowns] += (some.T @ (weights * misses[kind.rows]))[kind.parts]
        return curve, slope

    def named(self, unknowns: Floats) -> Pooled:
        count = len(self.form.terms)
        effects = {}
        for number, label in enumerate(self.labels):
            start = self.detailed.get(number)
            terms = None if start is None else tuple(map(float, unknowns[start : start + count]))
            effects[label] = Effect(float(unknowns[count + number]), terms)
        return Pooled(self.form, tuple(map(float, unknowns[:count])), effects)


def _kinds(
    named: Sequence[tuple[tuple[str, str], ...]],
    column: Mapping[tuple[str, str], int],
    detailed: Mapping[int, int],
    count: int,
) -> list[_Kind]:
    members: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for row, labels in enumerate(named):
        members.setdefault(labels, []).append(row)
    each = np.arange(count)
    found = []
    for labels, rows in members.items():
        numbers = [column[label] for label in labels]
        scales = np.array([count + number for number in numbers], dtype=np.int64)
        starts = [detailed[number] for number in numbers if number in detailed]
        unknowns = np.concatenate([each, scales, *(start + each for start in starts)])
        parts = np.concatenate([each, np.full(len(scales), count), *(each for _ in starts)])
        found.append(_Kind(np.array(rows), scales, unknowns.astype(np.int64), parts.astype(np.int64)))
    return found


def _solved(problem: _Problem, rounds: int = 20, enough: float = 3e-4) -> Floats:
    unknowns, damping = problem.middle.copy(), 1e-4
    amounts = problem.amounts(unknowns)
    misses = problem.misses(amounts)
    best = problem.loss(misses, unknowns)
    for _ in range(rounds):
        curve, slope = problem.equations(amounts, misses, unknowns)
        before = best
        for _ in range(8):
            step = np.clip(np.linalg.solve(curve + damping * np.diag(np.diag(curve)), slope), -1.0, 1.0)
            tried = unknowns + step
            new_amounts = problem.amounts(tried)
            new_misses = problem.misses(new_amounts)
            loss = problem.loss(new_misses, tried)
            if loss < best:
                unknowns, amounts, misses, best = tried, new_amounts, new_misses, loss
                damping = max(damping / 5, 1e-7)
                break
            damping *= 8
        if before - best < enough * before:
            break
    return unknowns
