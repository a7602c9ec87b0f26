"""What did training write into the residual stream? The mean change at every layer, its length, and its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.derived.model_differences import (
    NAMES,
    PLACES,
    DifferencesQuery,
    OfDifferences,
    compared,
    differences_of,
    mean_difference,
    mean_length,
)
from backend.derived.steering_vectors import units
from backend.derived.texts import texts
from backend.lab.cost import Cost
from backend.lab.differences import Differences
from backend.lab.lab import Lab
from backend.lab.outputs import Sampling, SteeringVectors
from backend.stats import grouped_means
from backend.stats.estimate import Estimate
from backend.stats.resampling import LEVEL
from backend.stats.rows import cell, interval, point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from backend.vocabulary import display

KEY = (*NAMES, "place", "layer")
TOP = 20
ALL = len(PLACES) - 1
PerLayer = Float[np.ndarray, "places layers"]
PerToken = Float[np.ndarray, "places layers top"]


@dataclass(frozen=True)
class Query(OfDifferences):
    """The checkpoint and its reference on some texts; `lens` provides the final norm and unembedding (None: no lens).

    `random` directions give the chance level of the tokens, and `halvings` of the texts the floor of the lengths.
    """

    lens: PinnedCheckpoint | None
    top: int = TOP
    random: int = 500

    @property
    def cost(self) -> Cost:
        """The differences, and work on arrays."""
        return self.cost_with(0.2)


@dataclass(frozen=True, eq=False)
class Result:
    """The mean of checkpoint minus reference at the first positions (PLACES) and over all, at layers 0..L.

    `relative` is its unbiased length over the mean length of the reference's residuals, with a 95 % interval; its
    `chance` is the floor, half the distance between the means of two halves of the texts. `norm` is the plain length,
    `residual_norm` that mean length. `token` are the names of the tokens that it promotes most, in C order of [places,
    layers, top]. `promoted` is the token's logit over the mean of all tokens, in standard deviations over random
    directions, and `by_chance` the share of random directions that promote their best token as much; 95 % of them
    promote none beyond `random_level`. All four are empty or NaN without a lens.
    """

    relative: Estimate[PerLayer]
    norm: PerLayer
    residual_norm: PerLayer
    token: tuple[str, ...]
    promoted: PerToken
    by_chance: PerToken
    random_level: float

    def tokens(self, place: int, layer: int) -> tuple[str, ...]:
        """Return the tokens at a place and layer, most promoted first; empty for a zero difference."""
        layers, top = self.promoted.shape[1:]
        if not top or np.isnan(self.promoted[place, layer, 0]):
            return ()
        start = (place * layers + layer) * top
        return self.token[start : start + top]

    def peak(self, place: int) -> int | None:
        """Return the layer of the largest relative length at a place that lies above its floor; None if none does."""
        chance = np.zeros_like(self.relative.value) if self.relative.chance is None else self.relative.chance
        above = np.where(self.relative.low > chance, self.relative.value, np.nan)[place]
        return None if np.isnan(above).all() else int(np.nanargmax(above))

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per place and layer."""
        for p, place in enumerate(PLACES):
            for layer in range(self.norm.shape[1]):
                first = self.promoted.shape[2] > 0
                yield {
                    **query.names,
                    "place": place,
                    "layer": layer,
                    **interval(self, "relative", p, layer),
                    "floor": cell(self.relative.chance[p, layer]) if self.relative.chance is not None else None,
                    **point(self, "norm", p, layer),
                    **point(self, "residual_norm", p, layer),
                    "lens": None if query.lens is None else query.lens.label,
                    "tokens": " ".join(self.tokens(p, layer)),
                    "promoted": cell(self.promoted[p, layer, 0]) if first else None,
                    "by_chance": cell(self.by_chance[p, layer, 0]) if first else None,
                }

    def token_rows(self, query: Query, place: int, layer: int) -> Iterator[dict[str, Any]]:
        """Yield one row per token at a place and layer."""
        for i, token in enumerate(self.tokens(place, layer)):
            yield {
                **query.names,
                "place": PLACES[place],
                "layer": layer,
                "rank": i + 1,
                "token": token,
                "promoted": cell(self.promoted[place, layer, i]),
                "by_chance": cell(self.by_chance[place, layer, i]),
            }


def lengths(found: Differences, halvings: int, seed: int) -> dict[str, Any]:
    """Return the lengths of the mean differences, plain and over the residuals' own; NaN where no text reaches."""
    residual_norm = mean_length(found)
    count = np.broadcast_to(found.count[:, :, None], found.total.shape[:3]).astype(np.int64)
    relative = grouped_means.length(found.total, count, residual_norm)
    floor = grouped_means.floor(found.total, count, residual_norm, halvings, seed)
    return {
        "relative": Estimate(*relative.ends, floor),
        "norm": np.where(np.isnan(residual_norm), np.nan, np.linalg.norm(mean_difference(found), axis=-1)),
        "residual_norm": residual_norm,
    }


def by_chance(promoted: Float[np.ndarray, "..."], random: Float[np.ndarray, " random"]) -> Float[np.ndarray, "..."]:
    """Return how often the best token of a random direction is promoted as much: (1 + count) / (1 + directions).

    North, Curtis and Sham 2002, American Journal of Human Genetics 71 (a permutation p-value is never 0).
    """
    count = (random[:, None] >= promoted.reshape(1, -1)).sum(axis=0).reshape(promoted.shape)
    return np.where(np.isnan(promoted), np.nan, (1 + count) / (1 + len(random)))


def random_units(count: int, width: int, seed: int) -> Float[np.ndarray, "directions width"]:
    """Return directions of length 1, uniform over the sphere."""
    return units(np.random.default_rng(seed).normal(size=(count, width)))


def read_tokens(query: Query, found: Differences, lab: Lab) -> dict[str, Any]:
    """Read the mean differences, and random directions beside them, as tokens."""
    places, layers, width = found.total.shape[1:]
    if query.lens is None:
        none = np.empty((places, layers, 0))
        return {"token": (), "promoted": none, "by_chance": none, "random_level": float("nan")}
    directions = mean_difference(found).reshape(-1, width)
    random = random_units(query.random, width, query.seed).astype(np.float32)
    read = lab.models.promoted(directions.astype(np.float32), random, query.lens, query.top, lab.progress)
    score, best = read.score.reshape(places, layers, -1).astype(np.float64), read.random.astype(np.float64)
    tokenizer = lab.models.tokenizer(query.lens.ref, query.lens.base)
    return {
        "token": display.name(tokenizer, read.token.ravel().tolist()),
        "promoted": score,
        "by_chance": by_chance(score, best),
        "random_level": float(np.quantile(best, LEVEL)),
    }


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Subtract the residuals of both models, and read the mean difference as tokens."""
    found = differences_of(query.differences, lab.part(0, 10, wide=8))
    tokens = read_tokens(query, found, lab.part(8, 10))
    lab.progress(0.9, "Comparing halves of the texts.")
    return Result(**lengths(found, query.halvings, query.seed), **tokens)


@dataclass(frozen=True)
class WrittenQuery:
    """The continuation that `checkpoint` generates with alpha times a mean difference added at its layer.

    `place` is a position in PLACES. Greedy, or sampled with a temperature and a seed.
    """

    checkpoint: PinnedCheckpoint
    differences: DifferencesQuery
    text: Prompts
    place: int
    layer: int
    alpha: float
    temperature: float | None = None
    seed: int = 0
    tokens: int = 40


@dataclass(frozen=True, eq=False)
class Written:
    """The generated text, empty if the model ends the text immediately."""

    text: str

    def rows(self, query: WrittenQuery) -> Iterator[dict[str, Any]]:
        """Yield one row."""
        yield {
            "checkpoint": query.checkpoint.label,
            "place": PLACES[query.place],
            "layer": query.layer,
            "alpha": query.alpha,
            "temperature": query.temperature,
            "seed": None if query.temperature is None else query.seed,
            "written": self.text,
        }


@memoized(version=1, private=True)
def written(query: WrittenQuery, lab: Lab) -> Written:
    """Steer the model along the mean difference, at all positions. UndefinedError if it predicts no tokens."""
    intervention = None
    if query.alpha != 0:
        mean = mean_difference(differences_of(query.differences, lab.part(0, 2)))[query.place, query.layer]
        intervention = SteeringVectors((query.layer,), (query.alpha * mean[None]).astype(np.float32), "all")
    sampling = None if query.temperature is None else Sampling(query.temperature, query.seed)
    checkpoint, progress = query.checkpoint, lab.part(1, 2).progress
    ids = lab.models.continuation(checkpoint, query.text, intervention, query.tokens, sampling, progress)
    tokenizer = lab.models.tokenizer(checkpoint.ref, checkpoint.base)
    return Written(tokenizer.decode(list(ids), skip_special_tokens=False))


def query(study: PinnedStudy, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, text_set: str) -> Query:
    """Return the query on one of `text_sets`, read with the checkpoint's own norm and unembedding if it has them.

    Raises UndefinedError if the token ids of both differ.
    """
    lens = next((one for one in (checkpoint, reference) if one.facts.predicts), None)
    return Query(checkpoint, reference, texts(study, checkpoint, reference, text_set), lens)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries for every other checkpoint with the same token ids, and for twins of another seed, on all texts.

    KeyError if no checkpoint has the reference's label.
    """
    return [query(study, *one) for one in compared(study, reference)]
