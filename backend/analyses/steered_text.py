"""How does steering change a typed text? Its answer at every coefficient, and the generated continuation.

Nothing goes to disk: the recipes are private, and the cache provides only the readouts of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.steering_vectors import ALPHAS, Directions, Positions, exists, scaled
from backend.errors import UndefinedError
from backend.lab.cost import Cost
from backend.lab.lab import Lab
from backend.lab.outputs import Sampling
from backend.stats import metrics
from backend.stats.rows import cell, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

TOKENS = 40
ONE_BY_ONE = 40
"""A generated token takes about as long as so many tokens that are read at once."""


@dataclass(frozen=True)
class Query:
    """The checkpoint that reads `text` (one prompt), steered with the direction of `direction_from` on `prompts`.

    The direction of `layer` is added at `layer`; `direction` is the class if there are more than two.
    """

    checkpoint: PinnedCheckpoint
    direction_from: PinnedCheckpoint
    text: Prompts
    prompts: Prompts
    layer: int
    positions: Positions = "all"
    direction: int = 0
    alphas: tuple[float, ...] = ALPHAS


@dataclass(frozen=True, eq=False)
class Result:
    """The text at every coefficient: logit difference of the direction's class (nats), probability of each word (0..1).

    NaN without a direction: all texts of the sample have the same residual.
    """

    logit_diff: Float[np.ndarray, " alphas"]
    probability: Float[np.ndarray, "alphas classes"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per coefficient and class, with the logit difference of the direction's class."""
        for a, alpha in enumerate(query.alphas):
            for c, probability in enumerate(self.probability[a]):
                yield {
                    **_place(query),
                    "alpha": alpha,
                    "logit_diff": cell(self.logit_diff[a]),
                    "word": c,
                    "probability": cell(probability),
                }


def _place(query: Query | WrittenQuery) -> dict[str, Any]:
    return {
        "checkpoint": query.checkpoint.label,
        "direction_from": query.direction_from.label,
        "layer": query.layer,
        "positions": query.positions,
        **of_class(query.direction, 1 if query.prompts.classes == 2 else query.prompts.classes),
    }


@memoized(version=1, private=True)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the text at every coefficient."""
    d = _directions(query, lab.part(0, 3))
    plain = lab.models.readout(query.checkpoint, query.text, lab.part(1, 3).progress).logits[0]
    logits = np.full((len(query.alphas), len(plain)), np.nan)
    coefficients = [a for a, alpha in enumerate(query.alphas) if alpha != 0]
    if exists(d, (query.layer, query.layer)):
        plan = tuple(scaled(d, (query.layer, query.layer), query.alphas[a], query.positions) for a in coefficients)
        steered = lab.models.steered(query.checkpoint, plan, query.text, lab.part(2, 3).progress)
        logits[coefficients] = steered[:, 0]
        logits[[a for a in range(len(logits)) if a not in coefficients]] = plain
    lab.progress(1.0, f"Read the text with {query.checkpoint.label}.")
    return Result(
        logit_diff=metrics.logit_diff(logits)[:, query.direction], probability=scipy.special.softmax(logits, axis=1)
    )


def _directions(query: Query | WrittenQuery, lab: Lab) -> Directions:
    residuals = lab.readout(query.direction_from, query.prompts).residuals
    return metrics.directions(residuals, query.prompts.labels, query.prompts.classes)[query.direction]


@dataclass(frozen=True)
class WrittenQuery:
    """The continuation that a checkpoint generates at one coefficient: greedy, or sampled with a temperature."""

    checkpoint: PinnedCheckpoint
    direction_from: PinnedCheckpoint
    text: Prompts
    prompts: Prompts
    layer: int
    positions: Positions
    direction: int
    alpha: float
    temperature: float | None
    seed: int = 0
    tokens: int = TOKENS

    @property
    def cost(self) -> Cost:
        """The readouts of the direction, and tokens that pass one by one, each as slow as ONE_BY_ONE."""
        readouts = ((self.direction_from, self.prompts),) if self.alpha != 0 else ()
        return Cost(readouts, ((self.checkpoint, ONE_BY_ONE * self.tokens),))


@dataclass(frozen=True, eq=False)
class Written:
    """The generated text, empty if the model ends the text immediately."""

    text: str

    def rows(self, query: WrittenQuery) -> Iterator[dict[str, Any]]:
        """Yield one row."""
        greedy = query.temperature is None
        yield {
            **_place(query),
            "alpha": query.alpha,
            "temperature": query.temperature,
            "seed": None if greedy else query.seed,
            "written": self.text,
        }


@memoized(version=1, private=True)
def written(query: WrittenQuery, lab: Lab) -> Written:
    """Generate the continuation. UndefinedError for a model that predicts no tokens."""
    checkpoint, spot = query.checkpoint, (query.layer, query.layer)
    if query.positions == "readout" and not query.prompts.at_one_token:
        raise UndefinedError(
            "The study reads a mean or a generated token, so there is no readout position to steer; add the direction "
            "at all positions."
        )
    intervention = None
    if query.alpha != 0:
        intervention = scaled(_directions(query, lab.part(0, 4)), spot, query.alpha, query.positions)
    sampling = None if query.temperature is None else Sampling(query.temperature, query.seed)

    def report(fraction: float, sentence: str) -> None:
        lab.progress(1 / 4 + 3 / 4 * fraction, f"{checkpoint.label}: {sentence[0].lower()}{sentence[1:]}")

    ids = lab.models.continuation(checkpoint, query.text, intervention, query.tokens, sampling, report)
    return Written(lab.models.tokenizer(checkpoint.ref, checkpoint.base).decode(list(ids), skip_special_tokens=False))
