"""Tidy rows: one value per cell, each interval after its value, None for an undefined value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backend.stats.estimate import Estimate


def cell(value: float | int | np.generic) -> float | int | None:
    """Return a plain Python number; None for NaN and infinity."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, int) or math.isfinite(plain) else None


def point(result: Any, name: str, *place: int) -> dict[str, float | int | None]:
    """Return the field `name` of a result as one cell, at `place` if it is an array."""
    value = getattr(result, name)
    return {name: cell(value[place] if place else value)}


def interval(result: Any, name: str, *place: int) -> dict[str, float | int | None]:
    """Return the cells `name`, `name_low` and `name_high` of the field `name` of a result, at `place`."""
    return cells(name, getattr(result, name), *place)


def cells(name: str, estimate: Estimate[Any], *place: int) -> dict[str, float | int | None]:
    """Return the cells `name`, `name_low` and `name_high` of an estimate, at `place` of its arrays."""
    ends = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {column: cell(end[place] if place else end) for column, end in ends.items()}


def chance(result: Any, name: str, *place: int) -> dict[str, float | int | None]:
    """Return the cell `name_chance` of the estimate `name` of a result."""
    level = getattr(result, name).chance
    return {f"{name}_chance": cell(level[place] if place else level)}


def of_class(c: int, directions: int) -> dict[str, int]:
    """Return the column `class`, present only with more than two classes (two classes have one direction)."""
    return {"class": c} if directions > 1 else {}
