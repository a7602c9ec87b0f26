"""Which features appear and vanish, by layer and epoch, beyond the difference between two seeds.

Every model has its own autoencoder. Two features are the same if their decoder rows point the same way. Two seeds on
the same model find different features, too (Paulo and Belrose 2025; Leask et al. 2025). That is the floor: the
reference with one seed is compared with the reference with another, and with each checkpoint with that other seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.feature_activations import ActiveQuery, active
from backend.lab.autoencoders import AutoencoderQuery, AutoencoderSpec
from backend.lab.cost import Cost
from backend.lab.lab import Lab
from backend.stats import feature_rates
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

PerCell = Float[np.ndarray, "checkpoints layers"]


@dataclass(frozen=True)
class Query:
    """The checkpoints whose autoencoders are paired with the reference's; each is trained on one model alone.

    The reference's autoencoder has `seed`; its second one and those of the checkpoints have the next seed.
    """

    checkpoints: tuple[PinnedCheckpoint, ...]
    reference: PinnedCheckpoint
    prompts: Prompts
    layers: tuple[int, ...]
    features: int
    k: int
    tokens: int = 200_000
    batch: int = 512
    learning_rate: float = 5e-3
    seed: int = 0

    def trainings(self, layer: int) -> tuple[AutoencoderQuery, ...]:
        """Return the two trainings of the reference at a layer, then those of the checkpoints."""
        models = (self.reference, self.reference, *self.checkpoints)
        specs = [
            AutoencoderSpec(layer, self.features, self.k, self.tokens, self.batch, self.learning_rate, seed)
            for seed in (self.seed, self.seed + 1)
        ]
        return tuple(AutoencoderQuery((model,), self.prompts, specs[i > 0]) for i, model in enumerate(models))

    @property
    def cost(self) -> Cost:
        """The trainings, and the comparison of their features."""
        trainings = tuple(one for layer in self.layers for one in self.trainings(layer))
        return Cost(trainings=tuple(dict.fromkeys(trainings))).with_fitting(0.05 * len(trainings))


@dataclass(frozen=True, eq=False)
class Result:
    """Shares (0..1) of features that fire on one token in a thousand or more, at each of the `layers`.

    `kept` is the share of the reference's features with a pair in the checkpoint at a cosine of at least 0.7; the rest
    vanished. `new` is the share of the checkpoint's features without such a pair; these appeared. `floor_kept` and
    `floor_new` are the same between two seeds on the reference. `cosine` and `floor_cosine` are the mean over pairs.
    NaN where none fires.
    """

    kept: PerCell
    new: PerCell
    cosine: PerCell
    floor_kept: Float[np.ndarray, " layers"]
    floor_new: Float[np.ndarray, " layers"]
    floor_cosine: Float[np.ndarray, " layers"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per checkpoint and layer."""
        for i, checkpoint in enumerate(query.checkpoints):
            for j, layer in enumerate(query.layers):
                yield {
                    "checkpoint": checkpoint.label,
                    "reference": query.reference.label,
                    "layer": layer,
                    **{name: cell(getattr(self, name)[i, j]) for name in ("kept", "new", "cosine")},
                    **{name: cell(getattr(self, name)[j]) for name in ("floor_kept", "floor_new", "floor_cosine")},
                }


def turnover(
    before: Float[np.ndarray, "features width"], after: Float[np.ndarray, "others width"]
) -> tuple[float, float, float]:
    """Return the kept share of `before`, the new share of `after`, and the mean cosine; NaN without features."""
    if not len(before) or not len(after):
        return float("nan"), float("nan"), float("nan")
    ours, theirs = feature_rates.pair(before, after)
    kept, known = (float((np.nan_to_num(cosines) >= feature_rates.SAME).mean()) for cosines in (ours, theirs))
    return kept, 1 - known, float(np.nanmean(ours))


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Train the autoencoders that are not in the cache, layer by layer, and pair their features."""
    shares = np.full((3, 1 + len(query.checkpoints), len(query.layers)), np.nan)
    for j, layer in enumerate(query.layers):
        trainings = query.trainings(layer)
        within = lab.part(j, len(query.layers))
        rows = [_rows(training, within.part(i, len(trainings))) for i, training in enumerate(trainings)]
        for i, others in enumerate(rows[1:]):
            shares[:, i, j] = turnover(rows[0], others)
    kept, new, cosine = shares
    return Result(kept[1:], new[1:], cosine[1:], kept[0], new[0], cosine[0])


def _rows(training: AutoencoderQuery, lab: Lab) -> Float[np.ndarray, "features width"]:
    """Return the decoder rows of the features that fire on at least one token in a thousand."""
    (checkpoint,) = training.checkpoints
    autoencoder = lab.part(0, 2).autoencoder(training)
    read = active(ActiveQuery(training, checkpoint, training.prompts), lab.part(1, 2))
    reviews = len(training.prompts.token_ids)
    counted = feature_rates.count(read.review, read.index, read.value, ~read.left_out, reviews, autoencoder.features)
    return autoencoder.decoder[counted.rate >= feature_rates.OFTEN]


def spread(layers: int, most: int = 5) -> tuple[int, ...]:
    """Return evenly spaced layers of 1..`layers`; layer 0 holds only tokens and positions."""
    return tuple(np.unique(np.linspace(1, layers, min(most, layers)).round().astype(int)).tolist())
