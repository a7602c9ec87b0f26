"""Differences of a checkpoint and its reference over texts, memoized for everything on the Difference page."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.texts import Texts, groups_of, text_sets
from backend.lab.cost import Cost
from backend.lab.differences import Differences
from backend.lab.lab import Lab
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy

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


@dataclass(frozen=True)
class OfDifferences:
    """What every query about the differences names; `halvings` of the texts give the floor."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    texts: Texts
    halvings: int = field(default=200, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    @property
    def differences(self) -> DifferencesQuery:
        """The differences that are read."""
        return DifferencesQuery(self.checkpoint, self.reference, self.texts, POSITIONS, self.seed)

    @property
    def names(self) -> dict[str, str]:
        """The columns that name the differences in a table."""
        return {
            "checkpoint": self.checkpoint.label,
            "reference": self.reference.label,
            "text_set": self.texts.name,
        }

    def cost_with(self, seconds: float) -> Cost:
        """Return the cost of the differences, which several analyses share, and of seconds of work on arrays."""
        return Cost().with_fitting(seconds, differences_of.request(self.differences))


NAMES = ("checkpoint", "reference", "text_set")
"""The columns of `OfDifferences.names`."""


def compared(study: PinnedStudy, reference: str) -> list[tuple[PinnedCheckpoint, PinnedCheckpoint, str]]:
    """Return checkpoint, reference and text set of everything that is compared token by token.

    Each other checkpoint against the reference, then each of another seed against its twin, on all sets of texts.
    KeyError if no checkpoint has the reference's label.
    """
    against = study.checkpoint(reference)
    pairs = [(one, against) for one in study.checkpoints if one != against]
    pairs += [pair for pair in study.seeds if pair not in pairs]
    return [(*pair, name) for pair in pairs if study.same_ids(*pair) for name in text_sets(study)]


def mean_difference(found: Differences) -> Float[np.ndarray, "places layers width"]:
    """Return the mean of checkpoint minus reference at every place and layer; 0 where no text reaches a position."""
    count = np.maximum(found.count.sum(axis=0), 1)
    return found.total.sum(axis=0, dtype=np.float64) / count[:, None, None]


def mean_length(found: Differences) -> Float[np.ndarray, "places layers"]:
    """Return the mean length of the reference's residuals at every place and layer; NaN without residuals."""
    count = found.count.sum(axis=0)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return found.lengths.sum(axis=0, dtype=np.float64) / np.where(count > 0, count, np.nan)
