"""Which layer of one checkpoint is most similar to which layer of another? CKA of every pair of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import cka, intervals, metrics
from backend.stats.estimate import Estimate, undefined
from backend.stats.metrics import Labels, Residuals
from backend.stats.rotation import rotated
from backend.stats.rows import interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer", "reference", "reference_layer")

Grid = Float[np.ndarray, "layers reference_layers"]


@dataclass(frozen=True)
class Query:
    """The checkpoint (rows) and the reference (columns), which may be the same.

    `drop_largest` dimensions, those of largest mean |activation| in the reference, are left out at each layer.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    drop_largest: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, the inner products of all pairs of reviews, and a CKA per pair of layers."""
        pairs = 0.7 * self.checkpoint.facts.layers / 12 + 0.3 * len(self.prompts.token_ids) / 256
        return cost_of_fields(self).with_fitting(0.08 * size(self.checkpoint, self.prompts) * pairs)


@dataclass(frozen=True, eq=False)
class Result:
    """Debiased linear CKA with its 95 % interval, NaN at layers without text."""

    cka: Estimate[Grid]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per pair of layers."""
        for layer, other in np.ndindex(*self.cka.value.shape):
            yield {
                "checkpoint": query.checkpoint.label,
                "layer": layer,
                "reference": query.reference.label,
                "reference_layer": other,
                **interval(self, "cka", layer, other),
            }


def grid(
    residuals: Residuals, reference: Residuals, labels: Labels, report: Callable[[float], None] = lambda _: None
) -> Result:
    """Compute CKA of every pair of layers; `report` receives the share done. UndefinedError below five reviews."""
    cka.enough(len(labels))
    ours, theirs = (np.flatnonzero(~metrics.constant_layers(stream)) for stream in (residuals, reference))
    result = undefined(residuals.shape[1], reference.shape[1])
    if len(ours) and len(theirs):
        xs, ys = ([rotated(stream[:, i]) for i in of] for stream, of in ((residuals, ours), (reference, theirs)))
        for layer, lefts in zip(ours, cka.crossed(xs, ys, report), strict=True):
            values = np.array([left.estimate for left in lefts])
            without = np.stack([left.without for left in lefts], axis=1)
            low, high = intervals.jackknife_interval(values, without, labels)
            result.put((layer, theirs), values, (low, np.minimum(high, 1.0)))
    return Result(cka=result)


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with both checkpoints and compare all layers."""
    reference = lab.part(0, 4).readout(query.reference, query.prompts).residuals
    residuals = lab.part(1, 4).readout(query.checkpoint, query.prompts).residuals
    sentence = f"Comparing every layer of {query.checkpoint.label} with every one of {query.reference.label}."
    result = grid(
        metrics.without_largest(residuals, reference, query.drop_largest),
        metrics.without_largest(reference, reference, query.drop_largest),
        query.prompts.labels,
        lambda share: lab.progress(0.5 + share / 2, sentence),
    )
    lab.progress(1.0, f"Compared all layers of {query.checkpoint.label} and {query.reference.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint, the reference included; KeyError for an unknown label."""
    against = study.checkpoint(reference)
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.checkpoints]
