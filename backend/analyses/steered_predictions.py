"""How strongly does adding the class direction change what a model predicts? KL on neutral sentences, without labels.

It judges steering where the study asks for no answers: a direction that matters changes predictions more than
directions of permuted labels of equal length do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.prediction_costs import MEASURES, costs
from backend.derived.steering_vectors import exists, middle, permuted_directions, scaled
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import SideEffects, SteeringVectors
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate, alone, undefined
from backend.stats.rows import cells, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNLABELLED
from backend.study.pinned import PinnedStudy
from backend.study.prompts import bare_prompts
from backend.study.token_ids import Prompts
from backend.vocabulary import neutral

KEY = ("checkpoint", "direction_from", "layer", "class", "alpha", "draw")
NEEDS = "classes"
NULL = 8
ALPHAS = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)
KL, LOSS = MEASURES.index("kl_from_plain"), MEASURES.index("loss_change")
_SHOWN = {"kl_from_plain": KL, "loss_change": LOSS}


@dataclass(frozen=True)
class Query:
    """The checkpoint with the direction of `direction_from` on the prompts, added at all positions of one layer.

    `neutral_digest` identifies the neutral sentences, which are cut at `max_tokens` by the tokenizer of `tokenizer`.
    `direction` is the class when there are more than two; `null` is the number of permuted directions.
    """

    checkpoint: PinnedCheckpoint
    direction_from: PinnedCheckpoint
    tokenizer: PinnedCheckpoint
    prompts: Prompts
    layer: int
    direction: int
    max_tokens: int
    neutral_digest: str
    alphas: tuple[float, ...] = ALPHAS
    null: int = NULL
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, and the neutral sentences once per direction and coefficient (a token has about 4 signs)."""
        tokens = sum(map(len, neutral.sentences())) // 4
        times = (1 + (1 + self.null) * len(self.alphas)) * tokens / max(1, int(self.prompts.lengths.sum()))
        return cost_of_fields(self).with_passes(self.checkpoint, self.prompts, times)


@dataclass(frozen=True, eq=False)
class Result:
    """The effect of every coefficient on neutral sentences, with 95 % intervals from a bootstrap over sentences.

    `kl_from_plain` is KL(without, with the direction) per token (nats), `loss_change` the added loss in nats per token,
    paired by sentence. NaN without a direction. `null` holds the KL for permuted directions.
    """

    kl_from_plain: Estimate[Float[np.ndarray, " alphas"]]
    loss_change: Estimate[Float[np.ndarray, " alphas"]]
    null: Float[np.ndarray, "draws alphas"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per coefficient for the direction, then those of each permuted direction, without intervals."""
        for draw in (None, *range(len(self.null))):
            for a, alpha in enumerate(query.alphas):
                row: dict[str, Any] = {
                    "checkpoint": query.checkpoint.label,
                    "direction_from": query.direction_from.label,
                    "layer": query.layer,
                    **of_class(query.direction, 1 if query.prompts.classes == 2 else query.prompts.classes),
                    "alpha": alpha,
                    "draw": draw,
                }
                if draw is None:
                    own = (cells(name, getattr(self, name), a) for name in _SHOWN)
                    yield row | next(own) | next(own)
                else:
                    row |= cells("kl_from_plain", alone(self.null), draw, a)
                    yield row | cells("loss_change", undefined(len(query.alphas)), a)


def steered(effects: SideEffects, alphas: int, draws: int = 1000, seed: int = 0) -> Result:
    """Measure interventions: first the direction at every coefficient, then each permuted direction at every one."""
    texts = np.zeros(len(effects.predicted), dtype=np.int64)
    values = costs(effects, np.ones((1, len(texts))))[0]
    first = SideEffects(effects.plain_loss, effects.loss[:alphas], effects.kl[:alphas], effects.predicted)
    low, high = intervals.bootstrap(lambda counts: costs(first, counts.astype(np.float64)), texts, draws, seed)
    own = {name: Estimate(values[m, :alphas], low[m], high[m]) for name, m in _SHOWN.items()}
    return Result(**own, null=values[KL, alphas:].reshape(-1, alphas))


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Compute the direction on the prompts, then read the neutral sentences with every coefficient of it."""
    if query.prompts.classes < 2:
        raise UndefinedError(UNLABELLED)
    source = lab.part(0, 8).readout(query.direction_from, query.prompts)
    labels, classes, at, count = query.prompts.labels, query.prompts.classes, query.direction, len(query.alphas)
    d = metrics.directions(source.residuals, labels, classes)[at]
    if not exists(d, (query.layer, query.layer)):
        return Result(undefined(count), undefined(count), np.full((query.null, count), np.nan))
    tokenizer = lab.models.tokenizer(query.tokenizer.ref, query.tokenizer.base)
    texts = bare_prompts(tokenizer, neutral.sentences(), query.prompts.label_tokens, query.max_tokens)
    null = permuted_directions(source.residuals, labels, classes, at, query.null, query.seed)
    plan: tuple[SteeringVectors, ...] = tuple(
        scaled(one, (query.layer, query.layer), alpha, "all") for one in (d, *null) for alpha in query.alphas
    )

    def report(fraction: float, sentence: str) -> None:
        lab.progress(1 / 8 + 0.8 * fraction, sentence)

    effects = lab.models.side_effects(query.checkpoint, plan, texts, report)
    lab.progress(0.95, f"Resampling {len(texts.labels):,} sentences {query.draws:,} times.")
    result = steered(effects, count, query.draws, query.seed)
    lab.progress(1.0, f"Measured the steered predictions of {query.checkpoint.label}.")
    return result


def query(
    study: PinnedStudy, checkpoint: PinnedCheckpoint, source: PinnedCheckpoint, layer: int, direction: int = 0
) -> Query:
    """Return the query that adds the direction of `source` at one layer of a checkpoint."""
    most, words = study.study.prompt.max_tokens, neutral.digest()
    return Query(checkpoint, source, study.tokenizing(checkpoint), study.prompts, layer, direction, most, words)


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return that answers judge steering, or which model predicts no tokens; None for neither."""
    if not study.lacks("answers"):
        return "This judges steering without answers, and the study asks for answers; steering.csv judges by these."
    return study.lacks_next_tokens(reference)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for each class of reference and last checkpoint, own directions, in a study without answers.

    Where there are answers, `steering` judges by these. KeyError if no checkpoint has the reference's label.
    """
    if study.lacks("classes") or not study.lacks("answers"):
        return []
    ends = dict.fromkeys((study.checkpoint(reference), study.epochs[-1]))
    layer, classes = middle(study.base.facts.layers), study.prompts.classes
    return [
        query(study, one, one, layer, direction)
        for direction in range(1 if classes == 2 else classes)
        for one in ends
        if one.facts.predicts
    ]
