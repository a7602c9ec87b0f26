"""How well does each layer hold the order of the label? Rank correlation of a held-out ridge regression, by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import by_layer, intervals, metrics, ranks
from backend.stats.estimate import Estimate, undefined
from backend.stats.rows import cell, chance, interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNORDERED
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer")
NEEDS = "order"
FOLDS = 5


@dataclass(frozen=True)
class Query:
    """One checkpoint and the reference of its cosine; `values` are the numbers of the label, one per review.

    `drop_largest` dimensions are left out at each layer, those of largest mean |activation| in the reference.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    values: tuple[float, ...]
    drop_largest: int = 0
    permutations: int = 200
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, and a regression per fold and layer."""
        return cost_of_fields(self).with_fitting(0.5 * size(self.checkpoint, self.prompts))


@dataclass(frozen=True, eq=False)
class Result:
    """By layer; NaN where all reviews are the same.

    `correlation` is Spearman's, -1..1, between the value and the prediction of a ridge regression on other reviews,
    with its 95 % interval; permuted values exceed its `chance` at some layer in 5 % of cases. `norm` is the l2 norm of
    the mean residual's change per standard deviation of the value, `relative` that over the mean norm of a residual,
    and `cosine_to_reference` compares its direction with the reference's, -1..1.
    """

    correlation: Estimate[Float[np.ndarray, " layers"]]
    norm: Float[np.ndarray, " layers"]
    relative: Float[np.ndarray, " layers"]
    cosine_to_reference: Float[np.ndarray, " layers"]

    @property
    def leaves_chance(self) -> int | None:
        """Return the first layer from which all later ones exceed chance; None if the last does not."""
        level = self.correlation.chance
        return None if level is None else intervals.leaves_chance(self.correlation.value, level)

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer."""
        for layer in range(len(self.norm)):
            yield {
                "checkpoint": query.checkpoint.label,
                "layer": layer,
                **interval(self, "correlation", layer),
                **chance(self, "correlation", layer),
                "norm": cell(self.norm[layer]),
                "relative": cell(self.relative[layer]),
                "cosine_to_reference": cell(self.cosine_to_reference[layer]),
            }


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Regress the value on the residuals of every layer, on the values themselves and on permuted ones."""
    if len(query.values) != len(query.prompts.token_ids):
        raise UndefinedError(UNORDERED)
    values, groups = np.array(query.values), query.prompts.groups
    read = lab.part(0, 2).readouts((query.checkpoint, query.reference), query.prompts)
    largest_of = read[1].residuals
    residuals, reference = (metrics.without_largest(one.residuals, largest_of, query.drop_largest) for one in read)
    fold_of = ranks.random_folds(len(values), groups, FOLDS, query.seed)
    permuted = np.random.default_rng(query.seed).permuted(np.tile(values, (query.permutations, 1)), axis=1)
    targets = np.concatenate([values[None], permuted])
    layers = metrics.varying(residuals)

    def measure(layer: int) -> np.ndarray:
        x = residuals[:, layer].astype(np.float64)
        return ranks.spearman(ranks.held_out(x, targets, fold_of), targets)

    def report(share: float) -> None:
        lab.progress(0.5 + 0.5 * share, f"Regressing the value on the residuals of {query.checkpoint.label}.")

    found = by_layer.measured(measure, layers, 2 * residuals[:, 0].size, report)
    texts = len(values) if groups is None else len(np.unique(groups))
    correlation = undefined(residuals.shape[1])
    for layer, rho in zip(layers, found, strict=True):
        correlation.put(layer, rho[0], tuple(end[0] for end in ranks.spearman_interval(rho[:1], texts)))
    level = np.full(residuals.shape[1], np.nan)
    if found:
        level[layers] = intervals.curve_chance(np.stack([rho[1:] for rho in found], axis=1), 0.0)
    own, theirs = ranks.slope(residuals, values), ranks.slope(reference, values)
    defined = np.isin(np.arange(residuals.shape[1]), layers)
    norm = np.where(defined, np.sqrt(metrics.squared_norm(own)), np.nan)
    alike = defined & ~metrics.constant_layers(reference)
    lab.progress(1.0, f"Measured the order of the label in {query.checkpoint.label}.")
    return Result(
        correlation=Estimate(*correlation.ends, level),
        norm=norm,
        relative=metrics.ratio(norm, metrics.mean_norm(residuals)),
        cosine_to_reference=np.where(alike, metrics.cosine(own, theirs), np.nan),
    )


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint of a study whose label has ordered values; KeyError for an unknown label."""
    if study.lacks("order"):
        return []
    against = study.checkpoint(reference)
    return [Query(one, against, study.prompts, study.sample.values) for one in study.checkpoints]
