"""Non-negative least squares against solutions known otherwise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.fits.nnls import nnls


def test_where_the_free_solution_is_positive_it_is_the_solution() -> None:
    a = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    assert nnls(a, np.array([1.0, 3.0, 5.0])) == pytest.approx([1, 2])


def test_a_column_that_would_turn_negative_is_left_out() -> None:
    a = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert nnls(a, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])  # the mean; free: 4 - 1 x


def test_lawson_and_hanson_have_the_third_column_out() -> None:
    """min |x - (1, 2, -3)| over x >= 0."""
    assert nnls(np.eye(3), np.array([1.0, 2.0, -3.0])) == pytest.approx([1, 2, 0])


def test_units_make_no_difference() -> None:
    chance = np.random.default_rng(1)
    a, b = chance.uniform(0, 1, (20, 3)), chance.uniform(0, 1, 20)
    scale = np.array([1e-9, 1.0, 1e6])
    assert nnls(a * scale, b) * scale == pytest.approx(nnls(a, b))


def test_a_column_of_zeros_gets_nothing() -> None:
    assert nnls(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([1.0, 2.0])) == pytest.approx([1, 0])


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_no_step_in_an_allowed_direction_would_help(seed: int, columns: int) -> None:
    """The Karush-Kuhn-Tucker conditions, which hold at the minimiser and nowhere else."""
    chance = np.random.default_rng(seed)
    a, b = chance.normal(size=(20, columns)), chance.normal(size=20)
    x = nnls(a, b)
    gain = a.T @ (b - a @ x)
    assert (x >= 0).all()
    assert (gain <= 1e-7).all()
    assert np.abs(gain[x > 0]).max(initial=0.0) < 1e-7
