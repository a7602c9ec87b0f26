"""Which reviews are neighbours at one layer? A t-SNE or UMAP map with comparable positions across checkpoints.

The reference gets a map of its own, from its principal components. Every other checkpoint *continues* from there: its
fit starts at the reference's positions and only refines them (t-SNE without early exaggeration, UMAP at a twentieth of
its learning rate), because a full fit forgets its start. Checkpoints that share little with the reference may
still be mirrored against each other; choosing one of them as the reference avoids that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Float32

from backend.caching.memoize import memoized
from backend.caching.progress import Progress, silent
from backend.caching.serialize import NOT_IN_KEY
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import embedding_maps, metrics
from backend.stats.embedding_maps import Fit, Method
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.dataset import Sample
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("method", "checkpoint", "layer", "index")

Layer = Float[np.ndarray, "reviews width"]

FEWEST = 5
"""Minimum number of reviews for a map."""
LOADING = {"tsne": ("openTSNE", 0.5), "umap": ("umap", 7.0)}
"""The library of each method, and the seconds of its import and of compiling a first fit."""


@dataclass(frozen=True)
class Query:
    """One map; `perplexity` counts for t-SNE, `neighbours` for UMAP, both lowered where the sample is too small.

    All other maps start from the reference's map. `sample` only gives `rows` the source row of each review.
    """

    method: Method
    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    layer: int
    seed: int = 0
    drop_largest: int = 0
    perplexity: float = 30.0
    neighbours: int = 15
    sample: Sample | None = field(default=None, metadata=NOT_IN_KEY, compare=False)

    @property
    def cost(self) -> Cost:
        """The readouts, the reference's map with its second fit, and the import and compilation of a first fit."""
        first = self.checkpoint == self.reference
        steps = () if first else (recipe.request(replace(self, checkpoint=self.reference)),)
        library, loading = LOADING[self.method]
        seconds = (0.5 if first else 0.25) * len(self.prompts.token_ids) / 256
        loads = first and library not in sys.modules
        return cost_of_fields(self).with_fitting(seconds + (loading if loads else 0.0), *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """Positions of the reviews, in arbitrary units; NaN at constant layers, or with too few reviews.

    `drift` is the root mean square distance of the reviews from their place on the reference's map, over the root mean
    square radius of that map (0 for the reference itself; independent maps are at about 1.4). `noise_floor` is the
    drift of a second fit of the reference's own residuals, continued from its map exactly as a checkpoint's is, so an
    unchanged checkpoint drifts that far: only a drift well above it is evidence of movement. It does not cover the
    sampling of reviews. `trustworthiness` (1: all, about 0.5: by chance) says how many neighbours on the map
    are neighbours in the residuals.
    """

    xy: Float32[np.ndarray, "reviews 2"]
    drift: float
    noise_floor: float
    trustworthiness: float

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per review; `index` is the source row (the position where the query has no sample)."""
        index = range(len(self.xy)) if query.sample is None else query.sample.index.tolist()
        for review, row in enumerate(index):
            yield {
                "method": query.method,
                "checkpoint": query.checkpoint.label,
                "layer": query.layer,
                "index": row,
                "x": cell(self.xy[review, 0]),
                "y": cell(self.xy[review, 1]),
            }


def undefined(residuals: Layer) -> bool:
    """Return whether the map is undefined: fewer than five reviews, or all of them identical."""
    return len(residuals) < FEWEST or bool(metrics.constant_layers(residuals[:, None]).all())


def first_map(residuals: Layer, fit: Fit, progress: Progress = silent) -> Result:
    """Fit the reference's map; return it with the drift of a second fit of the same residuals."""
    if undefined(residuals):
        return _nothing(len(residuals))
    xy, floor = fit.reference(residuals, progress)
    return Result(xy, 0.0, floor, embedding_maps.trustworthiness(residuals, xy, fit.neighbours))


def continued_map(residuals: Layer, reference: Result, fit: Fit, progress: Progress = silent) -> Result:
    """Fit the map of a checkpoint, continued from the reference's map."""
    if undefined(residuals) or not np.isfinite(reference.xy).all():
        return _nothing(len(residuals))
    xy = fit.continued(residuals, reference.xy, progress)
    trustworthiness = embedding_maps.trustworthiness(residuals, xy, fit.neighbours)
    return Result(xy.astype(np.float32), embedding_maps.drift(reference.xy, xy), reference.noise_floor, trustworthiness)


def _nothing(reviews: int) -> Result:
    return Result(np.full((reviews, 2), np.nan, dtype=np.float32), np.nan, np.nan, np.nan)


@memoized(version=3)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts and fit the map; a checkpoint needs the reference's map first."""
    reference = lab.part(0, 4).readout(query.reference, query.prompts).residuals
    fit = Fit(query.method, query.seed, query.perplexity, query.neighbours)
    if query.checkpoint == query.reference:
        kept = metrics.without_largest(reference, reference, query.drop_largest)
        result = first_map(kept[:, query.layer], fit, lab.part(1, 2).progress)
    else:
        residuals = lab.part(1, 4).readout(query.checkpoint, query.prompts).residuals
        start = recipe(replace(query, checkpoint=query.reference), lab.part(2, 4))
        kept = metrics.without_largest(residuals, reference, query.drop_largest)
        result = continued_map(kept[:, query.layer], start, fit, lab.part(3, 4).progress)
    lab.progress(1.0, f"The map of {query.checkpoint.label} at layer {query.layer} is fitted.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return both methods at the last layer for every checkpoint; KeyError for an unknown label."""
    against = study.checkpoint(reference)
    return [
        Query(method, checkpoint, against, study.prompts, against.facts.layers, sample=study.sample)
        for method in get_args(Method)
        for checkpoint in sorted(study.checkpoints, key=lambda other: other != against)
    ]
