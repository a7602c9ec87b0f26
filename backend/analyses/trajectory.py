"""When does training change each layer? The steps at which direction and accuracies leave chance and CKA falls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import Request, memoized
from backend.caching.serialize import NOT_IN_KEY
from backend.derived.trajectory_points import (
    Classes,
    ClassesQuery,
    Likeness,
    LikenessQuery,
    classes_of,
    likeness_of,
)
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import crossings, intervals
from backend.stats.crossings import Crossing
from backend.stats.estimate import Estimate, stacked
from backend.stats.rows import cell, cells
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.steps import trajectory_of
from backend.study.token_ids import Prompts

KEY = ("measure", "checkpoint", "layer", "class")
LEVEL = 0.9


@dataclass(frozen=True)
class Query:
    """The checkpoints of one training in order, at their `steps` (None: unknown), and the reference of CKA.

    CKA below `level` counts as moved. `drop_largest` dimensions, those of largest mean |activation| in the reference,
    are left out at each layer.
    """

    checkpoints: tuple[PinnedCheckpoint, ...]
    reference: PinnedCheckpoint
    prompts: Prompts
    level: float = LEVEL
    drop_largest: int = 0
    draws: int = 1000
    permutations: int = 1000
    seed: int = 0
    steps: tuple[int, ...] | None = field(default=None, metadata=NOT_IN_KEY)

    def classes_of(self, checkpoint: PinnedCheckpoint) -> Request[Classes]:
        """Return the request of what one checkpoint says about the classes."""
        largest_of = self.reference if self.drop_largest else None
        return classes_of.request(
            ClassesQuery(
                checkpoint, largest_of, self.prompts, self.drop_largest, self.draws, self.permutations, self.seed
            )
        )

    def likeness_of(self, checkpoint: PinnedCheckpoint) -> Request[Likeness]:
        """Return the request of how much one checkpoint resembles the reference."""
        return likeness_of.request(LikenessQuery(checkpoint, self.reference, self.prompts, self.drop_largest))

    @property
    def cost(self) -> Cost:
        """The measurements of each checkpoint, and little more."""
        steps = [of(checkpoint) for checkpoint in self.checkpoints for of in (self.classes_of, self.likeness_of)]
        return cost_of_fields(self).with_fitting(0.1, *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """Four measures over the checkpoints of a training, with 95 % intervals, and when each goes beyond its level.

    `norm` is the length of the class direction without sampling noise; its chance level holds over all layers and
    checkpoints together, for each direction: without any signal, 5 % of studies lie above it anywhere. The same holds
    for `layer_accuracy`, the balanced accuracy of the nearest class mean in reviews that the means did not see.
    `accuracy` is the balanced accuracy of the model's own answers, its chance level holds over all checkpoints. `cka`
    is the similarity to the reference. NaN where undefined.
    """

    norm: Estimate[Float[np.ndarray, "directions layers checkpoints"]]
    layer_accuracy: Estimate[Float[np.ndarray, "layers checkpoints"]]
    cka: Estimate[Float[np.ndarray, "layers checkpoints"]]
    accuracy: Estimate[Float[np.ndarray, " checkpoints"]]
    norm_leaves: Crossing
    layer_accuracy_leaves: Crossing
    cka_falls: Crossing
    accuracy_leaves: Crossing

    @property
    def strength(self) -> Float[np.ndarray, "directions layers checkpoints"]:
        """Return the norm over its chance level: above 1 is beyond chance; NaN at layers without text."""
        level = np.asarray(self.norm.chance)
        return np.divide(self.norm.value, level, out=np.full(level.shape, np.nan), where=level > 0)

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per measure, checkpoint and layer (answers: no layer), and per class if more than two."""
        directions, layers, _ = self.norm.value.shape
        level = np.broadcast_to(query.level, self.cka.value.shape)
        places = [
            ("direction", self.norm, self.norm.chance, self.norm_leaves, (c, layer), layer, c)
            for layer in range(layers)
            for c in range(directions)
        ]
        by_layer, its_level, leaves = self.layer_accuracy, self.layer_accuracy.chance, self.layer_accuracy_leaves
        places += [("layer_accuracy", by_layer, its_level, leaves, (layer,), layer, None) for layer in range(layers)]
        places += [("cka", self.cka, level, self.cka_falls, (layer,), layer, None) for layer in range(layers)]
        places += [("accuracy", self.accuracy, self.accuracy.chance, self.accuracy_leaves, (), None, None)]
        for measure, curves, levels, crossing, place, layer, c in places:
            when = _when(crossing, place, query)
            for i, checkpoint in enumerate(query.checkpoints):
                yield {
                    "measure": measure,
                    "checkpoint": checkpoint.label,
                    "step": None if query.steps is None else query.steps[i],
                    "layer": layer,
                    **({"class": c} if directions > 1 else {}),
                    **cells("value", curves, *place, i),
                    "level": cell(np.asarray(levels)[(*place, i)]),
                    **when,
                }


def _when(crossing: Crossing, place: tuple[int, ...], query: Query) -> dict[str, Any]:
    """Return the crossing of one curve: labels of checkpoints, then their steps, empty where there is none."""
    ends = {"": crossing.first, "_low": crossing.after, "_high": crossing.by}
    there = {end: int(of[place]) for end, of in ends.items()}
    known = {end: at for end, at in there.items() if 0 <= at < len(query.checkpoints)}
    steps = {} if query.steps is None else {end: query.steps[at] for end, at in known.items()}
    return {f"crossing{end}": query.checkpoints[known[end]].label if end in known else None for end in ends} | {
        f"crossing_step{end}": steps.get(end) for end in ends
    }


def trajectory(classes: Sequence[Classes], likenesses: Sequence[Likeness], level: float = LEVEL) -> Result:
    """Combine the measurements of the checkpoints of a training, in order.

    The chance level of the norm is `intervals.chance` over layers and checkpoints as one curve per direction. Those of
    the accuracies are `intervals.curve_chance`, over layers and checkpoints, and over checkpoints. See
    `crossings.rises_above` for the uncertainty of when.
    """
    null = np.stack([one.null_norm for one in classes], axis=-1)
    permutations, directions, layers, count = null.shape
    threshold = intervals.familywise(null.reshape(permutations, directions, layers * count).astype(np.float64))
    noise = np.stack([one.noise for one in classes], axis=-1)
    norm = stacked([one.norm for one in classes]).map(lambda end: np.moveaxis(end, 0, -1))
    chance = intervals.unbiased_chance(threshold, noise.reshape(threshold.shape)).reshape(noise.shape)
    norm = Estimate(*norm.ends, chance)
    guessing = 1 / (directions if directions > 1 else 2)
    answers = [(one.balanced_accuracy, one.null_accuracy) for one in classes]
    by_layer = [(one.layer_accuracy, one.null_layer_accuracy) for one in classes]
    accuracy, layer_accuracy = (_with_chance(each, guessing) for each in (answers, by_layer))
    cka = stacked([one.cka for one in likenesses]).map(lambda end: np.moveaxis(end, 0, -1))
    return Result(
        norm=norm,
        layer_accuracy=layer_accuracy,
        cka=cka,
        accuracy=accuracy,
        norm_leaves=crossings.rises_above(norm, chance),
        layer_accuracy_leaves=crossings.rises_above(layer_accuracy, np.asarray(layer_accuracy.chance)),
        cka_falls=crossings.falls_below(cka, level),
        accuracy_leaves=crossings.rises_above(accuracy, np.asarray(accuracy.chance)),
    )


def _with_chance(
    checkpoints: Sequence[tuple[Estimate[Any], Float[np.ndarray, "permutations *layers"]]], guessing: float
) -> Estimate[Float[np.ndarray, "*layers checkpoints"]]:
    """Stack accuracies of checkpoints, with one chance level over all of them; one answer for all stays at guessing."""
    curves = stacked([accuracy for accuracy, _ in checkpoints]).map(lambda end: np.moveaxis(end, 0, -1))
    null = np.stack([null for _, null in checkpoints], axis=-1).astype(np.float64)
    null = null.reshape(len(null), -1)
    level = np.full(null.shape[1], np.nan)
    defined = np.isfinite(null).all(axis=0)
    level[defined] = guessing
    varying = defined & (np.ptp(null, axis=0) > 0)
    if varying.any():
        level[varying] = intervals.curve_chance(null[:, varying], guessing)
    return Estimate(*curves.ends, level.reshape(curves.value.shape))


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Measure every checkpoint, those that are new, then combine them."""
    count = len(query.checkpoints)
    classes, likenesses = [], []
    for i, checkpoint in enumerate(query.checkpoints):
        classes.append(query.classes_of(checkpoint)(lab.part(2 * i, 2 * count)))
        likenesses.append(query.likeness_of(checkpoint)(lab.part(2 * i + 1, 2 * count)))
    lab.progress(1.0, f"Measured {count} checkpoints.")
    return trajectory(classes, likenesses, query.level)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return one query for the training; none with a single checkpoint. KeyError for an unknown reference."""
    against, training = study.checkpoint(reference), trajectory_of(study)
    if len(training.checkpoints) < 2:
        return []
    return [Query(training.checkpoints, against, study.prompts, steps=training.steps)]
