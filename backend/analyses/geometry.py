"""Do two models agree on the distances between reviews? Rank correlation, and Gromov-Wasserstein."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import cka, intervals, metrics, resampling
from backend.stats import rsa as measures
from backend.stats.estimate import Estimate, undefined
from backend.stats.metrics import Labels, Residuals
from backend.stats.rows import chance, interval, point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "reference", "layer")

PerLayer = Float[np.ndarray, " layers"]


@dataclass(frozen=True)
class Query:
    """The checkpoint and the reference that its reviews are paired with.

    At most `most` reviews are used, drawn with the seed: the time of both measures grows with the cube of their number.
    `drop_largest` dimensions, those of largest mean |activation| in the reference, are left out at each layer.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    drop_largest: int = 0
    most: int = 300
    permutations: int = 50
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts and the matchings, which grow with the cube of the number of reviews."""
        reviews = min(self.most, len(self.prompts.token_ids))
        return cost_of_fields(self).with_fitting(3.5 * (self.checkpoint.facts.layers + 1) / 13 * (reviews / 256) ** 3)


@dataclass(frozen=True, eq=False)
class Result:
    """Per layer; NaN where either model holds no text. Distances are Euclidean, over their mean at the layer.

    `rank_correlation` is Spearman's of the distances of all pairs (-1..1), with its 95 % interval and the level that
    reviews paired at random exceed at some layer in 5 % of draws. `gromov_wasserstein` is the least mean squared
    difference of distances over all matchings of the reviews (0 = some matching keeps them all), `unmatched` the same
    with every review matched to all others equally, an upper bound.
    """

    rank_correlation: Estimate[PerLayer]
    gromov_wasserstein: PerLayer
    unmatched: PerLayer

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer."""
        for layer in range(len(self.unmatched)):
            yield {
                "checkpoint": query.checkpoint.label,
                "reference": query.reference.label,
                "layer": layer,
                **interval(self, "rank_correlation", layer),
                **chance(self, "rank_correlation", layer),
                **point(self, "gromov_wasserstein", layer),
                **point(self, "unmatched", layer),
            }


def geometry(
    residuals: Residuals,
    reference: Residuals,
    labels: Labels,
    permutations: int = 50,
    seed: int = 0,
    report: Callable[[float], None] = lambda _: None,
) -> Result:
    """Measure every layer; `report` receives the share done. UndefinedError for fewer than five reviews."""
    cka.enough(len(labels))
    layers = residuals.shape[1]
    orders = resampling.permuted_labels(np.arange(len(labels)), permutations, seed)
    correlation = undefined(layers)
    level, transport, unmatched = (np.full(layers, np.nan) for _ in range(3))
    defined = metrics.varying(residuals, reference)
    null = np.zeros((permutations, len(defined)))
    for i, layer in enumerate(defined):

        def within(share: float, layer: int = layer) -> None:
            report((layer + share) / layers)

        within(0.0)
        a, b = (measures.distances(stream[:, layer]) for stream in (residuals, reference))
        transport[layer], unmatched[layer] = measures.gromov_wasserstein(a, b)
        null[:, i] = measures.repaired_rank_correlation(a, b, orders)
        left = measures.rank_correlation(a, b, within)
        low, high = intervals.jackknife_interval(np.array(left.estimate), left.without, labels)
        correlation.put(layer, left.estimate, (low, np.minimum(high, 1.0)))
    if defined:
        level[defined] = intervals.curve_chance(null, 0.0)
    return Result(
        rank_correlation=replace(correlation, chance=level), gromov_wasserstein=transport, unmatched=unmatched
    )


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with both checkpoints and compare distances."""
    reference = lab.part(0, 4).readout(query.reference, query.prompts).residuals
    residuals = lab.part(1, 4).readout(query.checkpoint, query.prompts).residuals
    order = np.random.default_rng(query.seed).permutation(len(residuals))
    drawn = np.sort(order[: query.most])
    sentence = f"Comparing distances in {query.checkpoint.label} and {query.reference.label}."
    result = geometry(
        metrics.without_largest(residuals, reference, query.drop_largest)[drawn],
        metrics.without_largest(reference, reference, query.drop_largest)[drawn],
        query.prompts.labels[drawn],
        query.permutations,
        query.seed,
        lambda share: lab.progress(0.5 + share / 2, sentence),
    )
    lab.progress(1.0, f"Compared the distances of {query.checkpoint.label} and {query.reference.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint except the reference; KeyError if no checkpoint has its label."""
    against = study.checkpoint(reference)
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.checkpoints if checkpoint != against]
