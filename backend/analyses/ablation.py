"""What does ablating the class direction cost? Perplexity, loss and KL on neutral sentences.

A direction whose ablation degrades all predictions carries more than the classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.prediction_costs import MEASURES, costs
from backend.derived.steering_vectors import ablation, exists, middle, permuted_directions
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import SideEffects
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate, alone, undefined
from backend.stats.rows import cell, cells, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNLABELLED
from backend.study.pinned import PinnedStudy
from backend.study.prompts import bare_prompts
from backend.study.token_ids import Prompts
from backend.vocabulary import neutral

KEY = ("checkpoint", "direction_from", "direction_layer", "class", "draw")
NEEDS = "classes"

NULL = 20


@dataclass(frozen=True)
class Query:
    """The checkpoint, ablated along the direction of `direction_from` at `direction_layer` on the prompts.

    `neutral_digest` identifies the neutral sentences, which are cut at `max_tokens` by the tokenizer of `tokenizer`,
    the base. `direction` is the class when there are more than two; `null` is the number of permuted directions.
    """

    checkpoint: PinnedCheckpoint
    direction_from: PinnedCheckpoint
    tokenizer: PinnedCheckpoint
    prompts: Prompts
    direction_layer: int
    direction: int
    max_tokens: int
    neutral_digest: str
    null: int = NULL
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, and the neutral sentences once as it is and once per ablation (a token has about 4 signs).

        Every token is scored against the whole vocabulary, which takes about three times as long as the blocks.
        """
        tokens = sum(map(len, neutral.sentences())) // 4
        times = 4 * (1 + self.null + 1) * tokens / max(1, int(self.prompts.lengths.sum()))
        return cost_of_fields(self).with_passes(self.checkpoint, self.prompts, times)


@dataclass(frozen=True, eq=False)
class Result:
    """The cost on neutral sentences by MEASURES, with 95 % intervals from a bootstrap over sentences.

    `perplexity` is measured without the direction (`plain`: with it), `loss_change` is the added loss in nats per
    token, paired by sentence, and `kl_from_plain` is KL(with, without the direction) per token (nats). NaN if there is
    no direction. `null` holds the same measures for permuted directions.
    """

    measures: Estimate[Float[np.ndarray, " measures"]]
    null: Float[np.ndarray, "measures draws"]
    plain: float

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield a row for the direction, then one for each permuted direction, without intervals."""
        for draw in (None, *range(self.null.shape[1])):
            row: dict[str, Any] = {
                "checkpoint": query.checkpoint.label,
                "direction_from": query.direction_from.label,
                "direction_layer": query.direction_layer,
                **of_class(query.direction, 1 if query.prompts.classes == 2 else query.prompts.classes),
                "draw": draw,
                "plain_perplexity": cell(self.plain),
            }
            for m, name in enumerate(MEASURES):
                row |= cells(name, self.measures, m) if draw is None else cells(name, alone(self.null), m, draw)
            yield row


def ablated(effects: SideEffects, draws: int = 1000, seed: int = 0) -> Result:
    """Measure the cost of interventions: first the direction, then the permuted directions."""
    one_stratum = np.zeros(len(effects.predicted), dtype=np.int64)
    everyone = np.ones((1, len(one_stratum)))
    values = costs(effects, everyone)[0]
    first = SideEffects(effects.plain_loss, effects.loss[:1], effects.kl[:1], effects.predicted)
    limits = intervals.bootstrap(lambda counts: costs(first, counts.astype(np.float64)), one_stratum, draws, seed)
    plain = SideEffects(effects.plain_loss, effects.plain_loss[None], effects.kl[:1], effects.predicted)
    measures = Estimate(values[:, 0], limits[0][:, 0], limits[1][:, 0])
    return Result(measures, values[:, 1:], float(costs(plain, everyone)[0, 0, 0]))


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Compute the direction on the prompts, then read the neutral sentences with and without it."""
    if query.prompts.classes < 2:
        raise UndefinedError(UNLABELLED)
    host, source = lab.part(0, 8).readouts((query.checkpoint, query.direction_from), query.prompts)
    labels, classes, at = query.prompts.labels, query.prompts.classes, query.direction
    tokenizer = lab.models.tokenizer(query.tokenizer.ref, query.tokenizer.base)
    texts = bare_prompts(tokenizer, neutral.sentences(), query.prompts.label_tokens, query.max_tokens)
    d = metrics.directions(source.residuals, labels, classes)[at]
    if not exists(d, (query.direction_layer, None)):
        return Result(undefined(len(MEASURES)), np.full((len(MEASURES), query.null), np.nan), float("nan"))
    null = permuted_directions(source.residuals, labels, classes, at, query.null, query.seed)
    plan = tuple(ablation(direction, query.direction_layer, host.residuals) for direction in (d, *null))

    def report(fraction: float, sentence: str) -> None:
        lab.progress(1 / 8 + 0.8 * fraction, sentence)

    effects = lab.models.side_effects(query.checkpoint, plan, texts, report)
    lab.progress(0.95, f"Resampling {len(texts.labels):,} sentences {query.draws:,} times.")
    result = ablated(effects, query.draws, query.seed)
    lab.progress(1.0, f"Measured the cost to {query.checkpoint.label}.")
    return result


def query(
    study: PinnedStudy,
    checkpoint: PinnedCheckpoint,
    source: PinnedCheckpoint,
    layer: int,
    direction: int = 0,
    null: int = NULL,
) -> Query:
    """Return the query that ablates the direction of `source` at the layer in one checkpoint."""
    most, words = study.study.prompt.max_tokens, neutral.digest()
    return Query(checkpoint, source, study.tokenizing(checkpoint), study.prompts, layer, direction, most, words, null)


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return which model predicts no next tokens; None if both do."""
    return study.lacks_next_tokens(reference)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query per checkpoint that predicts tokens: its own direction, two thirds of the way up.

    The reference and the last checkpoint have permuted directions too. KeyError if no checkpoint has the reference's
    label.
    """
    if study.lacks("classes"):
        return []
    ends = study.checkpoint(reference), study.checkpoints[-1]
    layer, classes = middle(study.base.facts.layers), study.prompts.classes
    every = range(1 if classes == 2 else classes)
    return [
        query(study, checkpoint, checkpoint, layer, direction, NULL if checkpoint in ends else 0)
        for direction in every
        for checkpoint in study.predicting
    ]
