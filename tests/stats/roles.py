"""Layer roles of predictions with given shares of right answers."""

from __future__ import annotations

import numpy as np

from backend.stats import layer_roles
from backend.stats.estimate import Estimate

LABELS = np.arange(80) % 2


def predictions(*right: float) -> np.ndarray:
    """Layers at which the first so-many shares of either class are predicted right."""
    rank = np.arange(80) // 2
    return np.stack([np.where(rank < 40 * share, LABELS, 1 - LABELS) for share in right])


def read(low: list[float], high: list[float], own: list[float], other: list[float], level: float = 0.9):
    limits = np.array(low), np.array(high)
    middle = (limits[0] + limits[1]) / 2
    return layer_roles.read(Estimate(middle, *limits), predictions(*own), predictions(*other), LABELS, 2, level)
