"""Estimates: one shape, no silent unpacking, places, changes and stacks."""

from __future__ import annotations

import numpy as np
import pytest

from backend.stats.estimate import Estimate, alone, stacked, undefined


def test_all_ends_have_one_shape():
    with pytest.raises(TypeError, match="one shape"):
        Estimate(np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(TypeError, match="one shape"):
        Estimate(np.zeros(3), np.zeros(3), np.zeros(3), 0.5)


def test_three_numbers_are_unpacked_from_its_ends_only():
    estimate = Estimate(2.0, 1.0, 4.0)
    assert estimate.ends == (2.0, 1.0, 4.0)
    with pytest.raises(TypeError, match="not iterable"):
        list(estimate)  # pyright: ignore[reportArgumentType]


def test_a_place_and_a_change_keep_all_four_together():
    estimate = Estimate(np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.array([3.0, 4.0]), np.array([0.5, 0.6]))
    at = estimate[1]
    assert (*at.ends, at.chance) == (2, 1, 4, 0.6)
    doubled = estimate.map(lambda end: 2 * end)
    assert doubled.high.tolist() == [6, 8]
    assert doubled.chance is not None and doubled.chance.tolist() == [1, 1.2]


def test_undefined_places_are_filled_in():
    estimate = undefined(2, 2)
    estimate.put((0, slice(None)), [1.0, 2.0], (0.0, 3.0))
    assert estimate.value[0].tolist() == [1, 2] and estimate.low[0].tolist() == [0, 0]
    assert np.isnan(estimate.value[1]).all()
    assert np.isnan(undefined().ends).all() and np.isnan(alone(np.ones(2)).high).all()


def test_a_stack_has_chance_where_all_have_it():
    with_chance, without = Estimate(1.0, 0.0, 2.0, 0.5), Estimate(2.0, 1.0, 3.0)
    assert stacked([with_chance, without]).chance is None
    both = stacked([with_chance, with_chance])
    assert both.value.tolist() == [1, 1]
    assert both.chance is not None and both.chance.tolist() == [0.5, 0.5]
