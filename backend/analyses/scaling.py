"""What does more or less of the change do? The reference with its change scaled, in all weights or in one part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import Request, memoized
from backend.derived.scaled_change import (
    IN_BLOCKS,
    AnswersQuery,
    PredictionsQuery,
    answers,
    answers_of,
    mean_kl,
    perplexity,
    plan_of,
    predictions_of,
)
from backend.derived.texts import NEUTRAL, Texts, texts
from backend.errors import UndefinedError
from backend.lab.cost import Cost
from backend.lab.differences import Part, Scaling
from backend.lab.lab import Lab
from backend.lab.outputs import Sampling
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate, undefined
from backend.stats.rows import cells
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "part", "block", "alpha")
ALPHAS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
PARTS: tuple[Part, ...] = get_args(Part)
MEASURES = ("balanced_accuracy", "gap", "perplexity", "kl")
TOKENS = 40
PerAlpha = Float[np.ndarray, "spans alphas"]


@dataclass(frozen=True)
class Query:
    """The reference, whose change to the checkpoint is scaled in one part by each of `alphas`.

    `prompts` are answered, and `texts` are predicted. A part that is in blocks is scaled one block at a time.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    texts: Texts
    part: Part = "all"
    alphas: tuple[float, ...] = ALPHAS
    draws: int = 1000
    seed: int = 0

    @property
    def plan(self) -> tuple[Scaling, ...]:
        """The scalings, block by block, each with every alpha."""
        return plan_of(self.part, self.alphas, self.reference.facts.layers)

    @property
    def cost(self) -> Cost:
        """Every scaling answers the prompts and predicts the texts."""
        pair, steps = (self.checkpoint, self.reference), list[Request[Any]]()
        if answers(*pair, self.prompts):
            steps.append(answers_of.request(AnswersQuery(*pair, self.prompts, self.plan)))
        if all(one.facts.predicts for one in pair):
            steps.append(predictions_of.request(PredictionsQuery(*pair, self.texts, self.plan)))
        return Cost().with_fitting(0.02 * len(self.plan), *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """Answers and predictions by span (a block, or the one part) and alpha, with 95 % intervals.

    `balanced_accuracy` (0..1) and `gap` (nats) are of the prompts, NaN without classes or a head; `perplexity` and `kl`
    from the reference (nats per token) are of the texts, NaN for models that predict no tokens. alpha 0 is the
    reference; alpha 1 in all weights is the checkpoint.
    """

    balanced_accuracy: Estimate[PerAlpha]
    gap: Estimate[PerAlpha]
    perplexity: Estimate[PerAlpha]
    kl: Estimate[PerAlpha]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per span and alpha; `block` is None for a part outside the blocks."""
        for span in range(self.kl.value.shape[0]):
            for a, alpha in enumerate(query.alphas):
                row: dict[str, Any] = {
                    "checkpoint": query.checkpoint.label,
                    "part": query.part,
                    "block": span if query.part in IN_BLOCKS else None,
                    "alpha": alpha,
                }
                for name in MEASURES:
                    row |= cells(name, getattr(self, name), span, a)
                yield row


def read_answers(
    logits: Float[np.ndarray, "scalings reviews classes"], prompts: Prompts, draws: int, seed: int
) -> tuple[Estimate[np.ndarray], Estimate[np.ndarray]]:
    """Return balanced accuracy and gap under each scaling."""
    accuracy, gap = undefined(len(logits)), undefined(len(logits))
    sizes = metrics.class_sizes(prompts.labels, prompts.classes)
    for i, one in enumerate(logits.astype(np.float64)):
        recall = metrics.recalls(metrics.predictions(one), prompts.labels, prompts.classes)
        limits = intervals.balanced_accuracy_interval(recall, sizes)
        accuracy.put(i, metrics.balanced_accuracy(recall), limits)
        difference = metrics.logit_diff(one)
        between = intervals.gap_interval(difference, prompts.labels, draws, seed)
        gap.put(i, metrics.gap(difference, prompts.labels), between)
    return accuracy, gap


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Run the scaled models. UndefinedError if neither answers nor predictions can be read."""
    plan, pair = query.plan, (query.checkpoint, query.reference)
    accuracy, gap, spread, kl = (undefined(len(plan)) for _ in range(4))
    answered, predicted = answers(*pair, query.prompts), all(one.facts.predicts for one in pair)
    if not answered and not predicted:
        raise UndefinedError(
            f"{pair[0].label} and {pair[1].label} neither answer in classes nor predict tokens, so scaling shows "
            f"nothing; add label words or a model with a head."
        )
    if answered:
        logits = answers_of(AnswersQuery(*pair, query.prompts, plan), lab.part(0, 4, wide=2)).logits
        accuracy, gap = read_answers(logits, query.prompts, query.draws, query.seed)
    if predicted:
        found = predictions_of(PredictionsQuery(*pair, query.texts, plan), lab.part(2, 4, wide=2))
        spread, kl = (read(found, query.draws, query.seed) for read in (perplexity, mean_kl))
    shape = (-1, len(query.alphas))
    return Result(*(one.map(lambda end: np.reshape(end, shape)) for one in (accuracy, gap, spread, kl)))


@dataclass(frozen=True)
class WrittenQuery:
    """The continuation of `text`: by weights with the change scaled, or (`part` "logits") by amplified logits.

    Amplified logits are after + alpha (after - before). Greedy, or sampled with a temperature and a seed.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    text: Prompts
    part: str
    blocks: tuple[int, ...]
    alpha: float
    temperature: float | None = None
    seed: int = 0
    tokens: int = TOKENS


@dataclass(frozen=True, eq=False)
class Written:
    """The generated text, empty if the model ends the text immediately."""

    text: str

    def rows(self, query: WrittenQuery) -> Iterator[dict[str, Any]]:
        """Yield one row."""
        yield {
            "checkpoint": query.checkpoint.label,
            "part": query.part,
            "block": query.blocks[0] if query.blocks else None,
            "alpha": query.alpha,
            "temperature": query.temperature,
            "seed": None if query.temperature is None else query.seed,
            "written": self.text,
        }


@memoized(version=1, private=True)
def written(query: WrittenQuery, lab: Lab) -> Written:
    """Generate the continuation. UndefinedError for models that predict no tokens."""
    sampling = None if query.temperature is None else Sampling(query.temperature, query.seed)
    part: Any = query.part
    how = query.alpha if part == "logits" else Scaling(part, query.alpha, query.blocks)
    pair = (query.checkpoint, query.reference)
    ids = lab.models.scaled_text(*pair, how, query.text, query.tokens, sampling, lab.progress)
    tokenizer = lab.models.tokenizer(query.checkpoint.ref, query.checkpoint.base)
    return Written(tokenizer.decode(list(ids), skip_special_tokens=False))


def query(study: PinnedStudy, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, part: Part) -> Query:
    """Return the query of a part, on the study's prompts and the neutral sentences.

    Raises UndefinedError if the token ids of both differ.
    """
    return Query(checkpoint, reference, study.prompts, texts(study, checkpoint, reference, NEUTRAL), part)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries for the last epoch, in every part; KeyError if no checkpoint has the reference's label."""
    against = study.checkpoint(reference)
    others = [one for one in study.epochs if one != against and study.same_ids(one, against)]
    if not others or not any(one.facts.has_head for one in (others[-1], against)):
        return []
    return [query(study, others[-1], against, part) for part in PARTS]
