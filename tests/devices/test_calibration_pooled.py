"""One fit over many groups: what it recovers, what it shrugs off, and what it says of groups it never saw."""

import math
from dataclasses import replace

import numpy as np
import pytest

from devices.fits.pooled import Category, Floats, Form, fit

FORM = Form(("a", "b"), (1.0, 1.0), (Category("engine", 1.0, 1.0), Category("group", 1.0, None)), pull=0.01)


def rows(count: int = 200, seed: int = 1) -> tuple[Floats, list[dict[str, str]]]:
    chance = np.random.default_rng(seed)
    groups = [{"engine": "x" if i % 2 else "y", "group": str(i % 5)} for i in range(count)]
    return chance.uniform(0.1, 1.0, (count, 2)), groups


def test_factors_that_made_the_times_are_found() -> None:
    terms, groups = rows()
    seconds = terms @ np.array([3.0, 0.5])
    fitted = fit(FORM, terms, seconds, groups, np.ones(len(terms)))
    for engine in "xy":
        assert fitted.factors({"engine": engine, "group": "0"}) == pytest.approx([3.0, 0.5], rel=0.01)


def test_a_slower_engine_is_slower_also_on_what_nobody_measured() -> None:
    terms, groups = rows()
    slower = np.array([1.5 if row["engine"] == "x" else 1.0 for row in groups])
    fitted = fit(FORM, terms, terms.sum(1) * slower, groups, np.ones(len(terms)))
    x, y = (fitted.seconds([1.0, 1.0], {"engine": name, "group": "unseen"}) for name in "xy")
    assert x / y == pytest.approx(1.5, rel=0.02)


def test_a_group_never_seen_is_its_parents() -> None:
    terms, groups = rows()
    fitted = fit(FORM, terms, terms.sum(1), groups, np.ones(len(terms)))
    assert fitted.seconds([1, 1], {"engine": "new"}) == fitted.seconds([1, 1], {})


def test_little_data_moves_a_group_little() -> None:
    terms, groups = rows()
    groups[0] = {"engine": "rare", "group": "rare"}
    seconds = terms.sum(1)
    seconds[0] *= 1.1
    stiff = replace(FORM, categories=(Category("engine", 1000.0, 1000.0), Category("group", 1000.0, None)))
    fitted = fit(stiff, terms, seconds, groups, np.ones(len(terms)))
    assert 1.0 < fitted.seconds([1, 1], groups[0]) / fitted.seconds([1, 1], {}) < 1.02


def test_rows_that_measure_something_else_hardly_count() -> None:
    terms, groups = rows()
    seconds = terms @ np.array([3.0, 0.5])
    seconds[::10] *= 8
    fitted = fit(FORM, terms, seconds, groups, np.ones(len(terms)))
    assert fitted.factors({}) == pytest.approx([3.0, 0.5], rel=0.05)


def test_rows_of_weight_zero_do_not_count_at_all() -> None:
    terms, groups = rows()
    seconds, weights = terms.sum(1), np.ones(len(terms))
    seconds[:50], weights[:50] = 99.0, 0.0
    fitted = fit(FORM, terms, seconds, groups, weights)
    assert fitted.factors({}) == pytest.approx([1.0, 1.0], rel=0.01)


def test_no_factor_is_ever_negative_even_where_a_term_hurts() -> None:
    terms, groups = rows()
    seconds = np.maximum(terms[:, 0] - 0.5 * terms[:, 1], 0.01)
    fitted = fit(FORM, terms, seconds, groups, np.ones(len(terms)))
    assert (fitted.factors(groups[0]) > 0).all()


def test_a_fit_is_the_same_every_time() -> None:
    terms, groups = rows()
    first, second = (fit(FORM, terms, terms.sum(1) + 0.1, groups, np.ones(len(terms))) for _ in range(2))
    assert first == second


def test_slopes_agree_with_differences() -> None:
    """Of the loss, along each unknown; the fit would stop too early with a wrong one."""
    from devices.fits.pooled import _Problem

    terms, groups = rows(30)
    problem = _Problem.of(FORM, terms, terms.sum(1) * 1.3, groups, np.ones(30))
    at = problem.middle + 0.01 * np.arange(len(problem.middle))
    amounts = problem.amounts(at)
    _, slope = problem.equations(amounts, problem.misses(amounts), at)
    for unknown in range(len(at)):
        step = np.zeros_like(at)
        step[unknown] = 1e-6
        up, down = (problem.loss(problem.misses(problem.amounts(at + s)), at + s) for s in (step, -step))
        assert -slope[unknown] == pytest.approx((up - down) / 4e-6, abs=1e-4 * (1 + math.fabs(slope[unknown])))
