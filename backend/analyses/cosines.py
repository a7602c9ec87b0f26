"""Do checkpoints, and layers, tell the classes apart along the same direction? Cosines between class directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.stats import metrics
from backend.stats.rows import cell, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNLABELLED
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer", "other_checkpoint", "other_layer", "class")
NEEDS = "classes"


@dataclass(frozen=True)
class Query:
    """The checkpoints, in the order of the axes.

    `drop_largest` dimensions are left out at each layer, those of largest mean |activation| in the reference (None:
    the first checkpoint).
    """

    checkpoints: tuple[PinnedCheckpoint, ...]
    prompts: Prompts
    drop_largest: int = 0
    reference: PinnedCheckpoint | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """Plain cosines of class directions, -1..1, NaN where a direction is zero; two classes have one direction.

    Checkpoints read the same reviews, so shared sampling noise inflates cosines between them. The split-half cosine of
    the direction analysis is free of that.
    """

    between_checkpoints: Float[np.ndarray, "directions layers checkpoints checkpoints"]
    between_layers: Float[np.ndarray, "directions checkpoints layers layers"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield every pair once: checkpoints at the same layer, then layers of the same checkpoint."""
        labels = [checkpoint.label for checkpoint in query.checkpoints]
        directions, layers = self.between_checkpoints.shape[:2]
        for c in range(directions):
            for layer in range(layers):
                for a, b in combinations(range(len(labels)), 2):
                    value = self.between_checkpoints[c, layer, a, b]
                    yield _row(labels[a], layer, labels[b], layer, c, directions, value)
            for a, label in enumerate(labels):
                for layer, other in combinations(range(layers), 2):
                    yield _row(label, layer, label, other, c, directions, self.between_layers[c, a, layer, other])


def _row(
    checkpoint: str, layer: int, other_checkpoint: str, other_layer: int, c: int, directions: int, value: float
) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint,
        "layer": layer,
        "other_checkpoint": other_checkpoint,
        "other_layer": other_layer,
        **of_class(c, directions),
        "cosine": cell(value),
    }


def direction_cosines(directions: Float[np.ndarray, "checkpoints directions layers width"]) -> Result:
    """Compute all cosines between class directions: of checkpoints at a layer, and of layers in a checkpoint."""
    by_layer = np.moveaxis(directions, 0, 2)  # [directions, layers, checkpoints, width]
    by_checkpoint = np.moveaxis(directions, 1, 0)  # [directions, checkpoints, layers, width]
    return Result(
        between_checkpoints=metrics.cosine(by_layer[..., :, None, :], by_layer[..., None, :, :]),
        between_layers=metrics.cosine(by_checkpoint[..., :, None, :], by_checkpoint[..., None, :, :]),
    )


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with every checkpoint and compare the class directions."""
    if query.prompts.classes < 2:
        raise UndefinedError(UNLABELLED)
    labels, classes = query.prompts.labels, query.prompts.classes
    parts = len(query.checkpoints) + 2
    reference = lab.part(0, parts).readout(query.reference or query.checkpoints[0], query.prompts).residuals
    results: list[np.ndarray] = []
    for i, checkpoint in enumerate(query.checkpoints, 1):
        residuals = lab.part(i, parts).readout(checkpoint, query.prompts).residuals
        kept = metrics.without_largest(residuals, reference, query.drop_largest)
        results.append(metrics.directions(kept, labels, classes))
    lab.progress((parts - 1) / parts, "Comparing class directions between checkpoints and layers.")
    result = direction_cosines(np.stack(results))
    lab.progress(1.0, "Measured the cosines between class directions.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return one query of all checkpoints; the reference decides which dimensions may be left out."""
    if study.lacks("classes"):
        return []
    return [Query(study.checkpoints, study.prompts, reference=study.checkpoint(reference))]
