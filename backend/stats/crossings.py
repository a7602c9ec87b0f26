"""When a curve over the checkpoints of a training goes beyond a level and stays there, with the uncertainty of when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.stats.estimate import Estimate

Curves = Float[np.ndarray, "*places checkpoints"]
Places = Int[np.ndarray, "*places"]


@dataclass(frozen=True, eq=False)
class Crossing:
    """Where each curve goes beyond its level: positions among the checkpoints, from 0.

    `first` is the first checkpoint from which all are beyond, the number of checkpoints if there is none. The curve
    crosses after checkpoint `after` (-1: perhaps before the first one) and at the latest at `by` (the number of
    checkpoints: perhaps after the last one). All are -1 for curves that are undefined everywhere.
    """

    first: Places
    after: Places
    by: Places

    def __getitem__(self, place: Any) -> Crossing:
        """Return the crossings at a place of the arrays."""
        return Crossing(*(np.asarray(end[place]) for end in (self.first, self.after, self.by)))


def rises_above(curves: Estimate[Curves], level: Curves | float) -> Crossing:
    """Find when curves rise above a level for the rest of the training; checkpoints with NaN are left out.

    `after` is the last checkpoint whose whole interval is not above, `by` the first from which all intervals are above.
    If each 95 % interval misses on either side with 2.5 %, a crossing later than `by` needs one checkpoint whose
    interval lies wrongly above, and one at or before `after` a checkpoint whose interval lies wrongly below.
    """
    value, low, high = curves.ends
    level = np.broadcast_to(level, value.shape)
    count = value.shape[-1]
    found = np.full((3, *value.shape[:-1]), -1, dtype=np.int64)
    for place in np.ndindex(value.shape[:-1]):
        there = np.flatnonzero(np.isfinite(value[place]))
        if not len(there):
            continue
        beyond = value[place][there] > level[place][there]
        perhaps = beyond | (high[place][there] > level[place][there])
        surely = beyond & (low[place][there] > level[place][there])
        position = [*there.tolist(), count]  # of the checkpoint, and the number of all for "never"
        start = _start(perhaps)
        found[(0, *place)] = position[_start(beyond)]
        found[(1, *place)] = position[start - 1] if start else -1
        found[(2, *place)] = position[_start(surely)]
    return Crossing(*(np.asarray(end) for end in found))


def falls_below(curves: Estimate[Curves], level: float) -> Crossing:
    """Find when curves fall below a level for the rest of the training: `rises_above` upside down."""
    value, low, high = curves.ends
    return rises_above(Estimate(-value, -high, -low), -level)


def _start(beyond: Bool[np.ndarray, " checkpoints"]) -> int:
    """Return the first position from which all are True; the length if the last one is not."""
    outside = np.flatnonzero(~beyond)
    return int(outside[-1]) + 1 if len(outside) else 0
