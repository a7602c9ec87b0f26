"""How much did training change every weight matrix, and in how many directions? Exact numbers, no intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import WeightChange
from backend.stats.rows import point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy

KEY = ("checkpoint", "layer", "matrix")

OUTSIDE = -1
"""The layer of a matrix outside the blocks."""


@dataclass(frozen=True)
class Query:
    """The checkpoint and the reference whose weights are compared."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint

    @property
    def cost(self) -> Cost:
        """Opening both, and a norm of every matrix."""
        return cost_of_fields(self).with_fitting(4e-8 * self.checkpoint.facts.parameters)


@dataclass(frozen=True, eq=False)
class Result:
    """The change of every weight matrix, in the order of the state dict, fused as stored, tied ones once.

    `layer` is the block (OUTSIDE: embeddings, positions, head), `matrix` the name within the block, or the whole one
    outside. `relative_change` is the Frobenius norm of the change over that of the reference, 0 = untouched, NaN if
    the reference is zero. `stable_rank`, the squared Frobenius norm of the change over its squared spectral norm,
    is the number of directions in which a matrix changed, from 1 to its rank; NaN where nothing changed. Rudelson
    and Vershynin 2007, Journal of the ACM 54. The numbers are exact, without intervals. The experts of a block are one
    block-diagonal matrix. `vectors_changed` counts the norms and biases that changed.
    """

    layer: Int[np.ndarray, " matrices"]
    matrix: tuple[str, ...]
    relative_change: Float[np.ndarray, " matrices"]
    stable_rank: Float[np.ndarray, " matrices"]
    vectors_changed: int

    def changed(self) -> Bool[np.ndarray, " matrices"]:
        """Return which matrices changed, those that were zero before included."""
        return (self.relative_change > 0) | (np.isnan(self.relative_change) & np.isfinite(self.stable_rank))

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per matrix; `layer` is None outside the blocks."""
        for i, matrix in enumerate(self.matrix):
            yield {
                "checkpoint": query.checkpoint.label,
                "layer": None if self.layer[i] == OUTSIDE else int(self.layer[i]),
                "matrix": matrix,
                **point(self, "relative_change", i),
                **point(self, "stable_rank", i),
            }

    def by_block(self) -> Float[np.ndarray, " blocks"]:
        """Return the mean relative change of each block's matrices, NaN where all are undefined."""
        blocks = range(int(self.layer.max(initial=OUTSIDE)) + 1)
        inside = [self.relative_change[self.layer == block] for block in blocks]
        return np.array([np.nanmean(values) if np.isfinite(values).any() else np.nan for values in inside])


def tabulate(changes: tuple[WeightChange, ...]) -> Result:
    """Return the changes of matrices as columns, and count those of vectors."""
    moved = sum(change.vector and not np.isnan(change.stable_rank) for change in changes)
    changes = tuple(change for change in changes if not change.vector)
    return Result(
        layer=np.array([OUTSIDE if change.layer is None else change.layer for change in changes], dtype=np.int64),
        matrix=tuple(change.matrix for change in changes),
        relative_change=np.array([change.relative_change for change in changes], dtype=np.float64),
        stable_rank=np.array([change.stable_rank for change in changes], dtype=np.float64),
        vectors_changed=moved,
    )


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Compare the weights of both checkpoints."""
    lab.progress(0.0, f"Opening {query.checkpoint.label} and {query.reference.label}.")
    result = tabulate(lab.models.weight_changes(query.checkpoint, query.reference, lab.progress))
    lab.progress(1.0, f"Compared the weights of {query.checkpoint.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint except the reference; KeyError if no checkpoint has its label."""
    against = study.checkpoint(reference)
    return [Query(checkpoint, against) for checkpoint in study.checkpoints if checkpoint.label != reference]
