"""A measured value with its interval and, where defined, its chance level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

A = TypeVar("A")


@dataclass(frozen=True, eq=False)
class Estimate(Generic[A]):
    """A value, or an array of values, with the ends of its 95 % interval, all of one shape; NaN where undefined.

    `chance` is the level that a null rarely exceeds (see `backend.stats.intervals`), None if undefined.
    """

    value: A
    low: A
    high: A
    chance: A | None = None

    __iter__: ClassVar[None] = None  # three numbers are unpacked from `ends`

    def __post_init__(self) -> None:
        """Raise TypeError if the shapes differ."""
        ends: tuple[Any, ...] = (self.value, self.low, self.high, self.chance)
        shapes = {np.shape(end) for end in ends if end is not None}
        if len(shapes) > 1:
            raise TypeError(f"An estimate has one shape, not {sorted(shapes)}.")

    @property
    def ends(self) -> tuple[A, A, A]:
        """Value, low and high."""
        return self.value, self.low, self.high

    def __getitem__(self, place: Any) -> Estimate[Any]:
        """Return the estimate at a place of the arrays."""
        return self.map(lambda end: np.asarray(end)[place])

    def map(self, change: Callable[[Any], Any]) -> Estimate[Any]:
        """Apply an order-preserving function to value, ends and chance."""
        chance = None if self.chance is None else change(self.chance)
        return Estimate(change(self.value), change(self.low), change(self.high), chance)

    def put(self, place: Any, value: Any, limits: tuple[Any, Any]) -> None:
        """Fill in one place of an estimate that `undefined` made."""
        ends: tuple[Any, ...] = (self.value, self.low, self.high)
        for array, number in zip(ends, (value, *limits), strict=True):
            array[place] = number


def undefined(*shape: int) -> Estimate[Any]:
    """Return an estimate of NaN to fill in; single numbers without a shape."""
    value, low, high = (np.full(shape, np.nan) if shape else np.nan for _ in range(3))
    return Estimate(value, low, high)


def stacked(estimates: Sequence[Estimate[Any]]) -> Estimate[Any]:
    """Stack estimates of one shape along a new first axis; with chance if all have it."""
    value, low, high = (np.array(position) for position in zip(*(estimate.ends for estimate in estimates), strict=True))
    levels = [estimate.chance for estimate in estimates]
    return Estimate(value, low, high, None if any(level is None for level in levels) else np.array(levels))


def alone(value: Any) -> Estimate[Any]:
    """Return a value without an interval: NaN for both ends."""
    unknown = np.full(np.shape(value), np.nan)
    return Estimate(value, unknown, unknown)
