"""How far every token's row of an embedding moved between two checkpoints: what the analyses of tokens share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.lab.lab import Lab
from backend.stats import metrics
from backend.study.checkpoint import PinnedCheckpoint

CHUNK = 4096
"""Rows compared at once, so that double precision needs little memory."""
MEASURES = ("l2", "cosine_distance", "l2_centred")


@dataclass(frozen=True, eq=False)
class Moved:
    """How far each row of one matrix went from the reference to the checkpoint.

    `l2` is the length of the change, `cosine_distance` 1 - cosine of the row before and after (0..2, NaN where one of
    them is zero), `l2_centred` the length of the change without the mean change of all rows, `common` the length of
    that mean: a drift that all rows share changes no softmax at a tied output. l2 in units of the embedding.
    """

    l2: Float[np.ndarray, " tokens"]
    cosine_distance: Float[np.ndarray, " tokens"]
    l2_centred: Float[np.ndarray, " tokens"]
    common: float


def moved(before: Float[np.ndarray, "rows width"], after: Float[np.ndarray, "rows2 width"]) -> Moved:
    """How far the rows that both matrices have went, in double precision."""
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
    """1 - cosine as half the squared distance of unit vectors, which loses no digits where it is small."""
    units = [one / np.where(norm > 0, norm, np.nan) for one, norm in map(_with_norm, (before, after))]
    return metrics.squared_norm(units[1] - units[0]) / 2


def _with_norm(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.astype(np.float64)
    return rows, np.sqrt(metrics.squared_norm(rows))[:, None]


@dataclass(frozen=True)
class ShiftQuery:
    """Whose rows are set against whose."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint


@dataclass(frozen=True, eq=False)
class Shifts:
    """`Moved` of the input embedding, and as `output_*` of the unembedding.

    The latter is NaN throughout where both checkpoints have one matrix for both, or one has no unembedding (`tied`).
    """

    tied: bool
    l2: Float[np.ndarray, " tokens"]
    cosine_distance: Float[np.ndarray, " tokens"]
    l2_centred: Float[np.ndarray, " tokens"]
    common: float
    output_l2: Float[np.ndarray, " tokens"]
    output_cosine_distance: Float[np.ndarray, " tokens"]
    output_l2_centred: Float[np.ndarray, " tokens"]
    output_common: float


@memoized(version=1)
def shifts(query: ShiftQuery, lab: Lab) -> Shifts:
    """Open both checkpoints for their rows."""
    models = lab.models
    lab.progress(0.0, f"Opening {query.reference.label} and {query.checkpoint.label}.")
    before = models.embedding(query.reference, "input", lab.part(0, 4).progress)
    after = models.embedding(query.checkpoint, "input", lab.part(1, 4).progress)
    tied = (before.tied and after.tied) or not (query.reference.facts.predicts and query.checkpoint.facts.predicts)
    found = moved(before.rows, after.rows)
    del before, after  # of a large model they take gigabytes
    nothing = np.full(len(found.l2), np.nan)
    unembedded = Moved(nothing, nothing, nothing, np.nan)
    if not tied:
        unembedded = moved(
            models.embedding(query.reference, "output", lab.part(2, 4).progress).rows,
            models.embedding(query.checkpoint, "output", lab.part(3, 4).progress).rows,
        )
    lab.progress(1.0, f"The rows of {query.checkpoint.label} are compared.")
    return Shifts(tied, **vars(found), **{f"output_{name}": value for name, value in vars(unembedded).items()})
