"""What do the reviews look like at each layer? PCA of the residuals, with the class direction as an arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32

from backend.caching.memoize import memoized
from backend.caching.serialize import NOT_IN_KEY
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import by_layer, metrics, pca
from backend.stats.metrics import Labels, Residuals
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.dataset import Sample
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("basis", "checkpoint", "layer", "index")

Basis = Literal["own", "base", "shared"]


@dataclass(frozen=True)
class Query:
    """One checkpoint in one basis: its `own`, the reference's (`base`), or `shared` by the checkpoints of `pool`.

    `pool` decides the signs of a basis that checkpoints have in common, and the axes of a shared one; it is empty for
    `own`. `sample` only gives `rows` the source row of each review.
    """

    basis: Basis
    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    pool: tuple[PinnedCheckpoint, ...]
    prompts: Prompts
    drop_largest: int = 0
    sample: Sample | None = field(default=None, metadata=NOT_IN_KEY, compare=False)

    @property
    def cost(self) -> Cost:
        """The readouts and the decompositions."""
        return cost_of_fields(self).with_fitting(0.05 * size(self.checkpoint, self.prompts))


@dataclass(frozen=True, eq=False)
class Result:
    """Two dimensions per layer, in units of the residual stream; NaN at constant layers.

    `explained` is the share of this checkpoint's own variance along each axis (0..1), `arrow` the components of d[l]
    along the axes, without the mean: the figure chooses where it starts.
    """

    xy: Float32[np.ndarray, "layers reviews 2"]
    explained: Float[np.ndarray, "layers 2"]
    arrow: Float[np.ndarray, "layers directions 2"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer and review; `index` is the source row (the position, without a sample)."""
        layers, reviews = self.xy.shape[:2]
        index = list(range(reviews)) if query.sample is None else query.sample.index.tolist()
        for layer in range(layers):
            for review in range(reviews):
                yield {
                    "basis": query.basis,
                    "checkpoint": query.checkpoint.label,
                    "layer": layer,
                    "index": index[review],
                    "x": cell(self.xy[layer, review, 0]),
                    "y": cell(self.xy[layer, review, 1]),
                }


def projection(
    residuals: Residuals, reference: Residuals, pool: tuple[Residuals, ...], labels: Labels, classes: int, basis: Basis
) -> Result:
    """Project the residuals of every layer on two principal components.

    The components are computed from the residuals themselves (`own`), from the reference (`base`: its axes and origin),
    or from all of `pool`, each centred on its own mean first (`shared`). The signs are such that the last class is
    right and up: by the checkpoint's own class direction in its `own` basis, else by the sum of those of `pool` (the
    reference, if it is empty). The direction of an untrained reference alone is noise, and would mirror the others.
    """
    layers = residuals.shape[1]
    d = metrics.directions(residuals, labels, classes)
    towards = d[-1] if len(d) else np.zeros(d.shape[1:])  # one class has no direction
    if len(d) and basis != "own":
        agreeing = pool or (reference,)
        towards = np.sum([metrics.directions(model, labels, classes)[-1] for model in agreeing], axis=0)
    xy = np.full((layers, len(residuals), 2), np.nan)
    explained = np.full((layers, 2), np.nan)
    arrow = np.full((layers, len(d), 2), np.nan)

    def measure(layer: int) -> None:
        here = residuals[:, layer]
        fitted_on = {"own": (here,), "base": (reference[:, layer],), "shared": tuple(model[:, layer] for model in pool)}
        mean, components = _axes(fitted_on[basis])
        components = pca.orient(components, towards[layer])
        xy[layer] = pca.project(here, here.mean(axis=0, dtype=np.float64) if basis == "shared" else mean, components)
        explained[layer] = pca.explained(here, components)
        arrow[layer] = d[:, layer] @ components.T

    by_layer.measured(measure, metrics.varying(residuals), max(1, len(pool)) * residuals[:, 0].size)
    return Result(xy.astype(np.float32), explained, arrow)


def _axes(
    parts: tuple[Float[np.ndarray, "reviews width"], ...],
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, "components=2 width"]]:
    """Return mean and components of one checkpoint, or of several, each centred on its own mean."""
    if len(parts) == 1:
        return pca.pca(parts[0])
    return pca.pca(np.concatenate([part - part.mean(axis=0, dtype=np.float64) for part in parts]))


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with all checkpoints of the basis, then project."""
    pool = () if query.basis == "own" else query.pool
    parts = len(pool) + 3
    reference = lab.part(0, parts).readout(query.reference, query.prompts).residuals

    def read(place: int, checkpoint: PinnedCheckpoint) -> np.ndarray:
        residuals = lab.part(place, parts).readout(checkpoint, query.prompts).residuals
        return metrics.without_largest(residuals, reference, query.drop_largest)

    residuals = read(1, query.checkpoint)
    together = tuple(read(2 + i, checkpoint) for i, checkpoint in enumerate(pool))
    lab.progress((parts - 1) / parts, f"Projecting {residuals.shape[1]} layers of {query.checkpoint.label}.")
    kept = metrics.without_largest(reference, reference, query.drop_largest)
    result = projection(residuals, kept, together, query.prompts.labels, query.prompts.classes, query.basis)
    lab.progress(1.0, f"{query.checkpoint.label} is projected onto the {query.basis} basis.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every basis and checkpoint; KeyError if no checkpoint has the reference's label."""
    against = study.checkpoint(reference)
    return [query for basis in get_args(Basis) for query in of_all(study, against, basis)]


def of_all(study: PinnedStudy, reference: PinnedCheckpoint, basis: Basis, drop_largest: int = 0) -> list[Query]:
    """Return a query for every checkpoint of the study in one basis."""
    pool = () if basis == "own" else study.checkpoints
    return [
        Query(basis, checkpoint, reference, pool, study.prompts, drop_largest, study.sample)
        for checkpoint in study.checkpoints
    ]
