"""Answers and predictions of the reference with a part of its change scaled, memoized for several analyses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from backend.caching.memoize import memoized
from backend.derived.texts import Texts
from backend.lab.cost import Cost
from backend.lab.differences import Part, ScaledPredictions, Scaling
from backend.lab.lab import Lab
from backend.stats import intervals
from backend.stats.estimate import Estimate
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

Plan = tuple[Scaling, ...]
IN_BLOCKS: tuple[Part, ...] = ("block", "attn", "mlp")
"""The parts that every block has, and that are scaled one block at a time."""


def plan_of(part: Part, alphas: tuple[float, ...], layers: int) -> Plan:
    """Return the scalings of a part, block by block where it is in blocks, each with every alpha."""
    spans: list[tuple[int, ...]] = [(block,) for block in range(layers)] if part in IN_BLOCKS else [()]
    return tuple(Scaling(part, alpha, blocks) for blocks in spans for alpha in alphas)


def answers(checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts) -> bool:
    """Return whether the models answer these prompts: with a head, in the label words of at least two classes."""
    return len(prompts.label_tokens) > 1 and (checkpoint.facts.has_head or reference.facts.has_head)


@dataclass(frozen=True)
class AnswersQuery:
    """The reference that answers the prompts, with its change to the checkpoint scaled."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    plan: Plan

    @property
    def cost(self) -> Cost:
        """Every scaling reads every prompt, from half the blocks on average."""
        return Cost().with_passes(self.reference, self.prompts, 1 + len(self.plan) / 2)


@dataclass(frozen=True, eq=False)
class Answers:
    """Label logits under each scaling."""

    logits: Float32[np.ndarray, "scalings reviews classes"]


@memoized(version=1)
def answers_of(query: AnswersQuery, lab: Lab) -> Answers:
    """Run the scaled models over the prompts."""
    run = lab.models.scaled(query.checkpoint, query.reference, query.plan, query.prompts, lab.progress)
    return Answers(run)


@dataclass(frozen=True)
class PredictionsQuery:
    """The reference that predicts the texts, with its change to the checkpoint scaled."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    texts: Texts
    plan: Plan

    @property
    def cost(self) -> Cost:
        """Every scaling reads every text, from half the blocks on average."""
        (checkpoint, tokens), *_ = self.texts.cost((self.reference,)).passes
        return Cost(passes=((checkpoint, int(tokens * (1 + len(self.plan) / 2))),))


@memoized(version=1)
def predictions_of(query: PredictionsQuery, lab: Lab) -> ScaledPredictions:
    """Run the scaled models over the texts."""
    texts = query.texts.read(lab)
    return lab.models.scaled_predictions(query.checkpoint, query.reference, query.plan, texts, lab.progress)


def perplexity(found: ScaledPredictions, draws: int, seed: int) -> Estimate[Float[np.ndarray, " scalings"]]:
    """Return exp of the mean loss per token under each scaling, with a bootstrap interval over texts."""
    return _per_token(found, found.loss, draws, seed).map(np.exp)


def mean_kl(found: ScaledPredictions, draws: int, seed: int) -> Estimate[Float[np.ndarray, " scalings"]]:
    """Return KL(reference, scaled) per token under each scaling (nats), with a bootstrap interval over texts."""
    return _per_token(found, found.kl, draws, seed)


def _per_token(found: ScaledPredictions, sums: np.ndarray, draws: int, seed: int) -> Estimate[np.ndarray]:
    values, predicted = sums.T.astype(np.float64), found.predicted.astype(np.float64)

    def mean(counts: np.ndarray) -> np.ndarray:
        return (counts @ values) / np.maximum(counts @ predicted, 1)[:, None]

    limits = intervals.bootstrap(mean, np.zeros(len(predicted), np.int64), draws, seed)
    return Estimate(mean(np.ones((1, len(predicted))))[0], *limits)
