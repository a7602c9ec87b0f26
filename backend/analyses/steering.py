"""Does the class direction steer the answer? It is added with every coefficient, or ablated at all layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.caching.serialize import NOT_IN_KEY
from backend.derived.steering_vectors import (
    ALPHAS,
    Positions,
    Scale,
    Spot,
    ablation,
    every_layer,
    exists,
    middle,
    permuted_directions,
    scaled,
    start,
    to_all,
)
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import Intervention
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate, alone
from backend.stats.metrics import Labels
from backend.stats.rows import cells, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

PLACE = ("checkpoint", "kind", "direction_from", "direction_layer", "layer")
KEY = (*PLACE, "positions", "scale", "class", "alpha", "draw")
NEEDS = "answers"

Kind = Literal["add", "ablate"]
Measure = Literal["gap", "auc", "balanced_accuracy", "flipped_to_1", "flipped_to_0", "mean_logit_diff"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
NULL = 20
Logits = Float[np.ndarray, "reviews classes"]
PerCoefficient = Float[np.ndarray, "measures spots alphas"]


@dataclass(frozen=True)
class Query:
    """The checkpoint, steered with the directions of `direction_from` at `spots`: (direction's layer, layer) pairs.

    A direction's layer None means each layer's own, a layer None means all layers; an ablation is at all layers.
    `direction` is the class if there are more than two. `null` is the number of permuted directions;
    `null_rows_only` leaves the direction's own rows to another query of the table.
    """

    checkpoint: PinnedCheckpoint
    direction_from: PinnedCheckpoint
    prompts: Prompts
    spots: tuple[Spot, ...]
    kind: Kind = "add"
    positions: Positions = "readout"
    scale: Scale = "difference"
    alphas: tuple[float, ...] = ALPHAS
    direction: int = 0
    null: int = 0
    draws: int = 1000
    permutations: int = 1000
    seed: int = 0
    null_rows_only: bool = field(default=False, metadata=NOT_IN_KEY, compare=False)

    @property
    def cost(self) -> Cost:
        """The readouts, and roughly how often the prompts pass the checkpoint with interventions."""
        layers = max(1, self.checkpoint.facts.layers)
        coefficients = 1 if self.kind == "ablate" else sum(alpha != 0 for alpha in self.alphas)
        depth = sum(1 - at / layers for at in start(self.spots, self.kind)) * coefficients * (1 + self.null)
        light = self.positions == "readout" and self.kind == "add" and self.checkpoint.facts.kind == "causal"
        times = 1.0 + depth / (float(self.prompts.lengths.mean()) if light else 1.0)
        return cost_of_fields(self).with_passes(self.checkpoint, self.prompts, times)


@dataclass(frozen=True, eq=False)
class Result:
    """Every spot at every coefficient by MEASURES, with 95 % intervals; NaN without a direction.

    Gap and mean logit difference in logits (the mean logit difference that of the direction's class), AUC, balanced
    accuracy and the shares of all reviews whose answer became the direction's class (class 1), or left it, because of
    the intervention, 0..1. `null` is the same for the permuted directions, `plain` for the model without intervention.
    `norm` is the length of each spot's direction and `chance` what permuted labels exceed at some layer in 5 % of
    cases; NaN where every layer has its own.
    """

    measures: Estimate[PerCoefficient]
    null: Float[np.ndarray, "measures draws spots alphas"]
    plain: Float[np.ndarray, " measures"]
    norm: Float[np.ndarray, " spots"]
    chance: Float[np.ndarray, " spots"]

    def of(self, measure: Measure) -> Estimate[Float[np.ndarray, "spots alphas"]]:
        """Return one measure by spot and coefficient."""
        return self.measures[MEASURES.index(measure)]

    def null_of(self, measure: Measure) -> Float[np.ndarray, "draws spots alphas"]:
        """Return the same measure under permuted directions."""
        return self.null[MEASURES.index(measure)]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per spot and alpha for the direction, then one per permuted direction, without intervals."""
        own = () if query.null_rows_only else (None,)
        for s, (source, layer) in enumerate(query.spots):
            for draw in (*own, *range(self.null.shape[1])):
                for a, alpha in enumerate(query.alphas):
                    row: dict[str, Any] = {
                        "checkpoint": query.checkpoint.label,
                        "kind": query.kind,
                        "direction_from": query.direction_from.label,
                        "direction_layer": "each" if source is None else source,
                        "layer": "all" if layer is None else layer,
                        "positions": query.positions,
                        "scale": query.scale,
                        **of_class(query.direction, 1 if query.prompts.classes == 2 else query.prompts.classes),
                        "alpha": None if query.kind == "ablate" else alpha,
                        "draw": draw,
                    }
                    for m, name in enumerate(MEASURES):
                        if draw is None:
                            row |= cells(name, self.measures, m, s, a)
                        else:
                            row |= cells(name, alone(self.null), m, draw, s, a)
                    yield row


def measured(logits: Logits, plain: Logits, labels: Labels, direction: int) -> Float[np.ndarray, " measures"]:
    """Return the MEASURES of one coefficient; all NaN where the logits are."""
    if np.isnan(logits).any():
        return np.full(len(MEASURES), np.nan)
    logit_diff, classes = metrics.logit_diff(logits), logits.shape[1]
    became, left = flips(plain, logits, direction)
    return np.array(
        [
            metrics.gap(logit_diff, labels),
            metrics.auc(logit_diff, labels),
            metrics.balanced_accuracy(metrics.recalls(metrics.predictions(logits), labels, classes)),
            became / len(labels),
            left / len(labels),
            metrics.mean_logit_diff(logit_diff)[direction],
        ]
    )


def covered(
    logits: Logits, plain: Logits, labels: Labels, direction: int, draws: int, seed: int
) -> Float[np.ndarray, "2 measures"]:
    """Return low and high of the MEASURES: bootstrap, `intervals.auc_interval`, MOVER and Wilson."""
    if np.isnan(logits).any():
        return np.full((2, len(MEASURES)), np.nan)
    logit_diff, classes = metrics.logit_diff(logits), logits.shape[1]
    recalls = metrics.recalls(metrics.predictions(logits), labels, classes)
    counts = np.array(flips(plain, logits, direction))
    low, high = intervals.wilson(counts, np.full(2, len(labels)))
    means = intervals.mean_interval(logit_diff[:, direction], labels, draws, seed)
    ends = [
        intervals.gap_interval(logit_diff, labels, draws, seed),
        intervals.auc_interval(logit_diff, labels, draws, seed),
        intervals.balanced_accuracy_interval(recalls, metrics.class_sizes(labels, classes)),
        (low[0], high[0]),
        (low[1], high[1]),
        (float(means[0]), float(means[1])),
    ]
    return np.array(ends, dtype=np.float64).T


def flips(plain: Logits, logits: Logits, direction: int) -> tuple[int, int]:
    """Count the answers that became the direction's class (class 1 of two), and those that left it."""
    target = 1 if plain.shape[1] == 2 else direction
    before, after = (metrics.predictions(answers) == target for answers in (plain, logits))
    return int((after & ~before).sum()), int((before & ~after).sum())


def steering(
    logits: Float[np.ndarray, "tried spots alphas reviews classes"],
    plain: Logits,
    labels: Labels,
    norm: Float[np.ndarray, " spots"],
    chance: Float[np.ndarray, " spots"],
    direction: int = 0,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    """Measure coefficients from label logits: first the direction, then each permuted direction.

    UndefinedError if a class has no review.
    """
    tried, spots, alphas = logits.shape[:3]
    values = np.empty((len(MEASURES), tried, spots, alphas))
    ends = np.empty((2, len(MEASURES), spots, alphas))
    for place in np.ndindex(tried, spots, alphas):
        values[(slice(None), *place)] = measured(logits[place], plain, labels, direction)
        if place[0] == 0:
            ends[:, :, place[1], place[2]] = covered(logits[place], plain, labels, direction, draws, seed)
    return Result(
        measures=Estimate(values[:, 0], ends[0], ends[1]),
        null=values[:, 1:],
        plain=measured(plain, plain, labels, direction),
        norm=norm,
        chance=chance,
    )


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with both checkpoints, then under every intervention, then measure."""
    host, source = lab.part(0, 8).readouts((query.checkpoint, query.direction_from), query.prompts)
    labels, classes, at = query.prompts.labels, query.prompts.classes, query.direction
    d = metrics.directions(source.residuals, labels, classes)[at]
    null = permuted_directions(source.residuals, labels, classes, at, query.null, query.seed)
    logits = np.full((1 + len(null), len(query.spots), len(query.alphas), *host.logits.shape), np.nan, np.float32)
    plan: list[Intervention] = []
    places: list[tuple[int, ...]] = []
    for i, directions in enumerate([d, *null]):
        for s, spot in enumerate(query.spots):
            for a, alpha in enumerate(query.alphas if exists(directions, spot) else ()):
                if query.kind == "ablate":
                    plan.append(ablation(directions, spot[0] or 0, host.residuals))
                elif alpha != 0:
                    plan.append(scaled(directions, spot, alpha, query.positions, query.scale))
                else:
                    logits[i, s, a] = host.logits
                    continue
                places.append((i, s, a))
    if plan:
        results = lab.models.steered(query.checkpoint, tuple(plan), query.prompts, _rest(lab))
        for place, result in zip(places, results, strict=True):
            logits[place] = result
    lab.progress(0.95, f"Resampling {len(query.spots) * len(query.alphas)} coefficients {query.draws:,} times.")
    threshold = intervals.chance(source.residuals, labels, classes, query.permutations, query.seed)[at]
    norms = np.sqrt(metrics.squared_norm(d))
    norm, chance = (
        np.array([np.nan if own is None else of[own] for own, _ in query.spots]) for of in (norms, threshold)
    )
    result = steering(logits, host.logits, labels, norm, chance, at, query.draws, query.seed)
    lab.progress(1.0, f"Measured the steering of {query.checkpoint.label}.")
    return result


def _rest(lab: Lab) -> Any:
    """Report progress from one eighth on: readouts take little time compared with steering."""

    def report(fraction: float, sentence: str) -> None:
        lab.progress(1 / 8 + 0.8 * fraction, sentence)

    return report


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries: own directions added, the last checkpoint's added to the reference, own directions ablated.

    Permuted directions take most of the time, so they are limited to the layer two thirds of the way up, and to the
    ablations of the reference and the last checkpoint. KeyError if no checkpoint has the reference's label.
    """
    against, last = study.checkpoint(reference), study.epochs[-1]
    layers = study.base.facts.layers
    at, everywhere = middle(layers), every_layer(layers)
    pairs = [(checkpoint, checkpoint) for checkpoint in study.answering]
    if against in study.answering and last != against:
        pairs.append((against, last))
    result: list[Query] = []
    for c in range(1 if study.prompts.classes == 2 else study.prompts.classes):
        for host, source in pairs:
            result.append(Query(host, source, study.prompts, everywhere, direction=c))
            permuted = Query(host, source, study.prompts, ((at, at),), direction=c, null=NULL, null_rows_only=True)
            result.append(permuted)
            if host != source:
                result.append(Query(host, source, study.prompts, to_all(layers), direction=c))
            else:
                null = NULL if host in (against, last) else 0
                result.append(ablated(host, source, study.prompts, at, c, null))
    return result


def ablated(
    host: PinnedCheckpoint, source: PinnedCheckpoint, prompts: Prompts, layer: int, direction: int, null: int = NULL
) -> Query:
    """Return the query that ablates one layer's direction in the host."""
    return Query(host, source, prompts, ((layer, None),), "ablate", "all", "unit", (1.0,), direction, null)
