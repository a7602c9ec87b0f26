"""Differences of a checkpoint and its reference over texts, memoized for everything on the Difference page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.texts import Texts, groups_of
from backend.lab.cost import Cost
from backend.lab.differences import Differences
from backend.lab.lab import Lab
from backend.study.checkpoint import PinnedCheckpoint

POSITIONS = 5
"""First positions that are kept apart."""
PLACES = (*map(str, range(1, POSITIONS + 1)), "all")
"""Names of the places: a position counted from 1, or all positions together."""


@dataclass(frozen=True)
class DifferencesQuery:
    """The checkpoint and the reference that is subtracted, on texts that are grouped with the seed."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    texts: Texts
    positions: int = POSITIONS
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """Both models read every text."""
        return self.texts.cost((self.reference, self.checkpoint))


@memoized(version=1)
def differences_of(query: DifferencesQuery, lab: Lab) -> Differences:
    """Run both models over the texts."""
    prompts = query.texts.read(lab)
    groups = groups_of(len(prompts.token_ids), query.seed)
    return lab.models.differences(query.checkpoint, query.reference, prompts, groups, query.positions, lab.progress)


def mean_difference(found: Differences) -> Float[np.ndarray, "places layers width"]:
    """Return the mean of checkpoint minus reference at every place and layer; 0 where no text reaches a position."""
    count = np.maximum(found.count.sum(axis=0), 1)
    return found.total.sum(axis=0, dtype=np.float64) / count[:, None, None]


def mean_length(found: Differences) -> Float[np.ndarray, "places layers"]:
    """Return the mean length of the reference's residuals at every place and layer; NaN without residuals."""
    count = found.count.sum(axis=0)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return found.lengths.sum(axis=0, dtype=np.float64) / np.where(count > 0, count, np.nan)
