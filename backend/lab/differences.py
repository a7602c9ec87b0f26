"""Results of comparing two models token by token, and of scaling the change between them. No torch here.

Every array is detached, on the CPU and read-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, Int64


@dataclass(frozen=True, eq=False)
class Predictions:
    """Next-token predictions of checkpoint and reference at every position of every text except the last.

    `change` sums probability after minus before over the positions of each group of texts, `predicted` counts those
    positions. `before` and `after` are mean probabilities. Positions are in the order of texts: `text`, `position`, the
    token `following`, and `kl`, KL(reference, checkpoint) in nats. `rise` are the largest p_after log(p_after /
    p_before) of a position (nats), largest first, with their tokens in `rising`; `fall` are the largest p_before
    log(p_before / p_after), with their tokens in `falling`.
    """

    change: Float32[np.ndarray, "groups tokens"]
    predicted: Int64[np.ndarray, " groups"]
    before: Float32[np.ndarray, " tokens"]
    after: Float32[np.ndarray, " tokens"]
    text: Int32[np.ndarray, " positions"]
    position: Int32[np.ndarray, " positions"]
    following: Int32[np.ndarray, " positions"]
    kl: Float32[np.ndarray, " positions"]
    rising: Int32[np.ndarray, "positions top"]
    rise: Float32[np.ndarray, "positions top"]
    falling: Int32[np.ndarray, "positions top"]
    fall: Float32[np.ndarray, "positions top"]


@dataclass(frozen=True, eq=False)
class Differences:
    """Residuals of a checkpoint minus those of its reference, summed over the texts of each group.

    Places are the first few positions, then all positions together. `lengths` sums the lengths of the reference's
    residuals, and `count` counts residuals. Layer l enters block l; L leaves the last. `predictions` is None for models
    that predict no tokens, and for texts of one token each.
    """

    total: Float32[np.ndarray, "groups places layers width"]
    lengths: Float32[np.ndarray, "groups places layers"]
    count: Int64[np.ndarray, "groups places"]
    predictions: Predictions | None


@dataclass(frozen=True, eq=False)
class Promoted:
    """The tokens that each direction promotes most through a final norm and an unembedding, largest first.

    `score` is a token's logit over the mean of all tokens, against no direction, in standard deviations of the same
    number over random directions; NaN for a zero direction. `random` is the best score of each random direction.
    """

    token: Int64[np.ndarray, "directions top"]
    score: Float32[np.ndarray, "directions top"]
    random: Float32[np.ndarray, " random"]


MERGING_PROMPTS = 4
"""Prompts that a merged and an unmerged adapter read."""


@dataclass(frozen=True, eq=False)
class Merging:
    """A merged adapter against the unmerged one on `tokens` tokens of a few prompts.

    `residual` is the largest length of merged minus unmerged over the unmerged length, at each of transformers' hidden
    states: entering every block, then the last. `active` is the same of the adapter switched off. `logit` and
    `active_logit` are the largest differences of a logit, `largest` the largest logit; NaN without a head.
    """

    residual: Float32[np.ndarray, " layers"]
    active: Float32[np.ndarray, " layers"]
    logit: float
    active_logit: float
    largest: float
    tokens: int


Part = Literal["all", "block", "attn", "mlp", "embed", "final_norm", "head"]


@dataclass(frozen=True)
class Scaling:
    """A part of the weights at reference + alpha (checkpoint - reference); everything else is the reference's.

    `blocks` are those whose whole, attention or MLP (each with its norms) is scaled; other parts name none.
    """

    part: Part
    alpha: float
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class ScaledPredictions:
    """Next-token predictions under each scaling, summed over each text's `predicted` positions.

    `loss` are -log-probabilities of the next tokens, and `kl` is KL(reference, scaled), both in nats.
    """

    loss: Float32[np.ndarray, "scalings texts"]
    kl: Float32[np.ndarray, "scalings texts"]
    predicted: Int64[np.ndarray, " texts"]
