"""Tidy rows: one value a cell, an interval right behind its value, None where a value is undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def cell(value: float | int | np.generic) -> float | int | None:
    """A number as Python knows it; None for NaN and infinity."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, int) or math.isfinite(plain) else None


def point(result: Any, name: str, *place: int) -> dict[str, float | int | None]:
    """The field `name` of a result as one cell, at `place` where it is an array."""
    value = getattr(result, name)
    return {name: cell(value[place] if place else value)}


def interval(result: Any, name: str, *place: int) -> dict[str, float | int | None]:
    """`point`, and behind it the cells `name_low` and `name_high`."""
    return {k: v for field in (name, f"{name}_low", f"{name}_high") for k, v in point(result, field, *place).items()}


def of_class(c: int, directions: int) -> dict[str, int]:
    """The column `class`, which is there with more than two classes only (two classes have one direction)."""
    return {"class": c} if directions > 1 else {}
