"""When curves go beyond a level and stay there: cases by hand, a plain loop, bounds, curves with gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.stats.crossings import falls_below, rises_above
from backend.stats.estimate import Estimate


def around(value: np.ndarray, half: float) -> Estimate[np.ndarray]:
    return Estimate(value, value - half, value + half)


@pytest.mark.parametrize(
    ("values", "half", "first", "after", "by"),
    [
        ([0, 1, 2, 3, 4], 0.0, 3, 2, 3),
        ([0, 1, 2, 3, 4], 1.0, 3, 1, 4),
        ([0, 1, 2, 3, 4], 2.0, 3, 0, 5),
        ([3, 3, 3], 0.2, 0, -1, 0),
        ([3, 3, 3], 1.0, 0, -1, 3),
        ([1, 1, 1], 0.2, 3, 2, 3),
        ([1, 1, 2.4], 0.2, 3, 1, 3),
        ([3, 1, 3], 0.1, 2, 1, 2),
        ([3, 3, 1], 0.1, 3, 2, 3),
        ([np.nan, 3, np.nan, 3], 0.1, 1, -1, 1),
        ([np.nan, 1, np.nan, 3], 0.1, 3, 1, 3),
        ([np.nan, np.nan], 0.1, -1, -1, -1),
    ],
)
def test_by_hand(values: list[float], half: float, first: int, after: int, by: int):
    found = rises_above(around(np.array(values, dtype=float), half), 2.5)
    assert (int(found.first), int(found.after), int(found.by)) == (first, after, by)
    down = falls_below(around(-np.array(values, dtype=float), half), -2.5)
    assert (int(down.first), int(down.after), int(down.by)) == (first, after, by)


number = st.one_of(st.just(float("nan")), st.floats(-3, 3))


@given(st.lists(st.tuples(number, st.floats(0, 2), st.floats(0, 2), st.floats(-2, 2)), min_size=1, max_size=7))
def test_against_a_plain_loop(points: list[tuple[float, float, float, float]]):
    value, down, up, level = (np.array(column) for column in zip(*points, strict=True))
    found = rises_above(Estimate(value, value - down, value + up), level)
    there = [i for i in range(len(value)) if not np.isnan(value[i])]

    def first_of(curve: np.ndarray) -> int | None:
        for i in there:
            if all(curve[j] > level[j] for j in there if j >= i):
                return i
        return None

    if not there:
        assert int(found.first) == int(found.after) == int(found.by) == -1
        return
    never = len(value)
    perhaps = first_of(value + up)
    before = [i for i in there if perhaps is None or i < perhaps]
    assert int(found.first) == (never if first_of(value) is None else first_of(value))
    assert int(found.by) == (never if first_of(value - down) is None else first_of(value - down))
    assert int(found.after) == (before[-1] if before else -1)
    assert int(found.after) < int(found.first) <= int(found.by)


def test_every_curve_has_its_own_level():
    values = np.arange(12.0).reshape(1, 3, 4)
    found = rises_above(around(values, 0.0), np.array([[[1.0], [4.0], [20.0]]]))
    assert found.first.tolist() == [[2, 1, 4]] and found.after.tolist() == [[1, 0, 3]]
