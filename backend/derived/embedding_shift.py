"""Measure how far every token's row of an embedding moved between two checkpoints, for the analyses of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.lab.lab import Lab
from backend.stats import metrics
from backend.study.checkpoint import PinnedCheckpoint

CHUNK = 4096
"""Rows compared at a time, so that double precision needs little memory."""
MEASURES = ("l2", "cosine_distance", "l2_centred")


@dataclass(frozen=True, eq=False)
class Moved:
    """The change of each row of one matrix from the reference to the checkpoint.

    `l2` is the norm of the change, `cosine_distance` 1 - cosine of the row before and after (0..2, NaN if one of them
    is zero), `l2_centred` the norm of the change minus the mean change of all rows, and `common` the norm of that mean:
    a shift that all rows share changes no softmax at a tied output. Norms are in units of the embedding.
    """

    l2: Float[np.ndarray, " tokens"]
    cosine_distance: Float[np.ndarray, " tokens"]
    l2_centred: Float[np.ndarray, " tokens"]
    common: float


def moved(before: Float[np.ndarray, "rows width"], after: Float[np.ndarray, "rows2 width"]) -> Moved:
    """Compare the rows that both matrices have, in double precision."""
    rows = min(len(before), len(after))
    parts = [slice(start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK)]
    mean = sum(_change(before, after, part).sum(axis=0) for part in parts) / rows
    l2, distance, centred = np.empty(rows), np.empty(rows), np.empty(rows)
    for part in parts:
        change = _change(before, after, part)
        l2[part] = np.sqrt(metrics.squared_norm(change))
        centred[part] = np.sqrt(metrics.squared_norm(change - mean))
        distance[part] = _cosine_distance(before[part], after[part])
    return Moved(l2, distance, centred, float(np.sqrt(metrics.squared_norm(np.asarray(mean)))))


def _change(before: np.ndarray, after: np.ndarray, part: slice) -> Float[np.ndarray, "part width"]:
    return after[part].astype(np.float64) - before[part]


def _cosine_distance(before: np.ndarray, after: np.ndarray) -> Float[np.ndarray, " part"]:
    """Return 1 - cosine as half the squared distance of unit vectors, which stays accurate for small distances."""
    units = [rows / np.where(norm > 0, norm, np.nan) for rows, norm in map(_with_norm, (before, after))]
    return metrics.squared_norm(units[1] - units[0]) / 2


def _with_norm(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.astype(np.float64)
    return rows, np.sqrt(metrics.squared_norm(rows))[:, None]


@dataclass(frozen=True)
class ShiftQuery:
    """The checkpoint and the reference whose rows are compared."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint


@dataclass(frozen=True, eq=False)
class Shifts:
    """The change of the input embedding, and of the unembedding.

    The latter is None if both checkpoints tie their two matrices, or if one has no unembedding.
    """

    input: Moved
    output: Moved | None


@memoized(version=2)
def shifts(query: ShiftQuery, lab: Lab) -> Shifts:
    """Compare the embeddings of both checkpoints."""
    models = lab.models
    lab.progress(0.0, f"Opening {query.reference.label} and {query.checkpoint.label}.")
    before = models.embedding(query.reference, "input", lab.part(0, 4).progress)
    after = models.embedding(query.checkpoint, "input", lab.part(1, 4).progress)
    tied = (before.tied and after.tied) or not (query.reference.facts.predicts and query.checkpoint.facts.predicts)
    embedded, unembedded = moved(before.rows, after.rows), None
    del before, after  # gigabytes for a large model
    if not tied:
        unembedded = moved(
            models.embedding(query.reference, "output", lab.part(2, 4).progress).rows,
            models.embedding(query.checkpoint, "output", lab.part(3, 4).progress).rows,
        )
    lab.progress(1.0, f"Compared the embedding rows of {query.checkpoint.label}.")
    return Shifts(embedded, unembedded)
