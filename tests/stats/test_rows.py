"""Cells: numbers as Python knows them, nothing for what is undefined."""

from dataclasses import dataclass

import numpy as np

from backend.stats import rows
from backend.stats.estimate import Estimate


@dataclass(frozen=True)
class Measured:
    size: Estimate
    n: int


def test_cells_are_plain_numbers_or_nothing() -> None:
    assert rows.cell(np.nan) is rows.cell(np.float32(np.inf)) is None
    value = rows.cell(np.float64(0.1))
    assert value == 0.1
    assert type(value) is float
    assert type(rows.cell(np.int64(3))) is int


def test_an_interval_stands_right_behind_its_value() -> None:
    ends = np.array([1.0, 2.0]), np.array([np.nan, 1.5]), np.array([1.5, np.nan])
    result = Measured(Estimate(*ends, np.array([0.5, np.nan])), 4)
    assert rows.point(result, "n") == {"n": 4}
    assert rows.interval(result, "size", 0)["size_low"] is None
    assert [rows.chance(result, "size", i)["size_chance"] for i in (0, 1)] == [0.5, None]
    assert list(rows.interval(result, "size", 1).items()) == [("size", 2.0), ("size_low", 1.5), ("size_high", None)]


def test_two_classes_need_no_column() -> None:
    assert rows.of_class(0, 1) == {}
    assert rows.of_class(2, 3) == {"class": 2}
