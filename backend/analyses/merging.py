"""Does a merged adapter compute what the adapter computed in training? Merged against unmerged, on a few prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.lab.cost import Cost
from backend.lab.differences import MERGING_PROMPTS, Merging
from backend.lab.lab import Lab
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer")
TOLERANCE = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
"""Relative difference that rounding alone explains: in half precision merging rounds every weight once more."""


@dataclass(frozen=True)
class Query:
    """The adapter, and the prompts of which it reads the first few."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts

    @property
    def cost(self) -> Cost:
        """Opening the adapter twice, and three passes over the prompts."""
        few = 3 * int(self.prompts.lengths[:MERGING_PROMPTS].sum())
        return Cost(passes=((self.checkpoint, few), (self.checkpoint, 0)))


@dataclass(frozen=True, eq=False)
class Result:
    """The largest differences over `tokens` tokens of merged against unmerged, and of switched off against unmerged.

    `residual` and `active` are lengths of differences over the unmerged residual's length: at l < L entering block l,
    at L the last hidden state of transformers. `logit` is in logits, `largest` the largest logit; both NaN without a
    head. `tolerance` is relative.
    """

    residual: Float[np.ndarray, " layers"]
    active: Float[np.ndarray, " layers"]
    logit: float
    active_logit: float
    largest: float
    tokens: int
    tolerance: float

    @property
    def worst(self) -> float:
        """Return the largest relative difference, of a residual or of a logit."""
        logit = 0.0 if np.isnan(self.logit) or not self.largest else self.logit / self.largest
        return max(float(self.residual.max()), logit)

    @property
    def equal(self) -> bool:
        """Whether merged equals unmerged up to the tolerance."""
        return self.worst <= self.tolerance

    @property
    def acts(self) -> bool:
        """Whether the adapter changes anything."""
        return bool(self.active.max() > 0 or (not np.isnan(self.active_logit) and self.active_logit > 0))

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer."""
        for layer, (residual, active) in enumerate(zip(self.residual, self.active, strict=True)):
            yield {
                "checkpoint": query.checkpoint.label,
                "layer": layer,
                "residual": cell(residual),
                "active": cell(active),
                "logit": cell(self.logit),
                "active_logit": cell(self.active_logit),
                "tokens": self.tokens,
                "tolerance": self.tolerance,
                "equal": self.equal,
            }


def judged(found: Merging, dtype: str) -> Result:
    """Return the measurement with the tolerance of a dtype."""
    return Result(
        found.residual.astype(np.float64),
        found.active.astype(np.float64),
        found.logit,
        found.active_logit,
        found.largest,
        found.tokens,
        TOLERANCE[dtype],
    )


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Run the adapter merged, unmerged and switched off."""
    return judged(lab.models.merging(query.checkpoint, query.prompts, lab.progress), query.checkpoint.dtype)


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return that the study has no adapter; None if it has one."""
    study.checkpoint(reference)
    if any(checkpoint.facts.adapter for checkpoint in study.checkpoints):
        return None
    return "This compares an adapter with its merged weights, and no checkpoint of this study is an adapter."


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every adapter; KeyError if no checkpoint has the reference's label."""
    study.checkpoint(reference)
    return [Query(checkpoint, study.prompts) for checkpoint in study.checkpoints if checkpoint.facts.adapter]
