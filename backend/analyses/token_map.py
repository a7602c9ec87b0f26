"""Which tokens are neighbours, and where did they go? A chosen set of words, or the whole vocabulary, on a map.

All checkpoints share one frame. PCA uses the reference's axes and centres each checkpoint on its own mean, so a common
drift of all rows does not show. t-SNE and UMAP use rows of unit length, so neighbours are neighbours by cosine. The
reference's map is fitted first, and every other checkpoint continues from its positions (see the map of reviews).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Int
from tokenizers import Tokenizer

from backend.caching.memoize import memoized
from backend.caching.progress import Progress
from backend.derived.token_counts import CountQuery, count_query, counts
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import Matrix
from backend.stats import embedding_maps, pca
from backend.stats.embedding_maps import Fit
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary import display, lexicon

KEY = ("method", "scope", "checkpoint", "token_id")

Method = Literal["pca", "tsne", "umap"]
Scope = Literal["words", "vocabulary"]
NEUTRAL = "neutral"
SHORTEST = 3
"""Minimum number of letters of words from VADER and of neutral words."""

PAIR_SECONDS, FIT_SECONDS = 2.5e-11, {"tsne": 1.3e-3, "umap": 0.5e-3}
"""Seconds per pair of tokens and dimension (neighbours), and per token (placing), on two cores."""


@dataclass(frozen=True)
class Query:
    """One map of `matrix`: of words (the `per_group` most frequent of each group) or of all shared tokens."""

    method: Method
    scope: Scope
    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    counted: CountQuery
    own: lexicon.Words = ()
    matrix: Matrix = "input"
    per_group: int = 50
    seed: int = 0
    perplexity: float = 30.0
    neighbours: int = 15

    @property
    def cost(self) -> Cost:
        """Opening the models, and roughly the seconds of placing many tokens.

        The reference is fitted three times, the first time longer.
        """
        opening = cost_of_fields(self)
        if self.scope == "words" or self.method == "pca":
            return replace(opening, fitting=0.3)
        facts = [checkpoint.facts for checkpoint in (self.reference, self.checkpoint)]
        many = min(fact.vocabulary for fact in facts)
        fits = 3.5 if self.checkpoint == self.reference else 1.0
        seconds = PAIR_SECONDS * many**2 * facts[0].width + FIT_SECONDS[self.method] * many * fits
        return replace(opening, fitting=seconds)


@dataclass(frozen=True, eq=False)
class Result:
    """Positions of the tokens `ids`, in the units of the embedding for PCA and arbitrary ones otherwise.

    `token` is its text, `group` the index in `groups` of its word list (-1: none); `neutral` words are frequent words
    on no list. `drift` is the root mean square distance from the reference's map over that map's radius (0 for the
    reference). `noise_floor` is the drift of a second fit of the reference (0 for PCA, which is deterministic): only a
    drift well above it is evidence of movement. `trustworthiness` (1: all, about 0.5: by chance) says how many
    neighbours on the map are neighbours in the embedding, `explained` is the share of variance on either axis of a PCA
    (else NaN). `tied`: the unembedding was requested, but it is tied to the input embedding in both models or missing
    in one, so this is the map of the input embedding.
    """

    ids: Int[np.ndarray, " tokens"]
    token: tuple[str, ...]
    groups: tuple[str, ...]
    group: Int[np.ndarray, " tokens"]
    xy: Float32[np.ndarray, "tokens 2"]
    drift: float
    noise_floor: float
    trustworthiness: float
    explained: Float[np.ndarray, " axes"]
    tied: bool = False

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per token."""
        for i, token in enumerate(self.ids.tolist()):
            group = int(self.group[i])
            yield {
                "method": query.method,
                "scope": query.scope,
                "checkpoint": query.checkpoint.label,
                "token_id": token,
                "token": self.token[i],
                "group": self.groups[group] if group >= 0 else None,
                "x": cell(self.xy[i, 0]),
                "y": cell(self.xy[i, 1]),
            }


def at_unit_length(rows: Float32[np.ndarray, "tokens width"]) -> Float32[np.ndarray, "tokens width"]:
    """Divide rows by their length, so that distances follow cosines; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def choose(
    tokenizer: Tokenizer, count: Int[np.ndarray, " tokens"], own: lexicon.Words, per_group: int
) -> dict[str, Int[np.ndarray, " _"]]:
    """Choose the most frequent tokens of every group, and as many neutral words (letters, on no list). Ties: lower ids.

    VADER's abbreviations of fewer than SHORTEST letters are left out: as tokens they start many other words.
    """
    members = lexicon.token_groups(tokenizer, own, len(count))
    for name in members.keys() - dict(own).keys():
        words = zip(members[name], display.name(tokenizer, members[name]), strict=True)
        members[name] = tuple(i for i, word in words if len(word.removeprefix(display.SPACE)) >= SHORTEST)
    order = np.argsort(-count, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    listed = {word for _, words in lexicon.groups(own) for word in words} | set(lexicon.vader())
    common = [name.removeprefix(display.SPACE) for name in display.name(tokenizer, order[: 40 * per_group].tolist())]
    plain = [word for word in common if word.isalpha() and len(word) >= SHORTEST and word.lower() not in listed]
    taken = {token for ids in members.values() for token in ids}
    neutral = {token for token in display.of_words(tokenizer, plain).values() if token < len(count)} - taken
    return {
        name: np.array(sorted(ids, key=lambda i: rank[i])[:per_group], dtype=np.int64)
        for name, ids in (members | {NEUTRAL: tuple(neutral)}).items()
    }


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Count the tokens, read the rows of both checkpoints, and place them; the reference's map comes first."""
    pair = (query.reference, query.checkpoint)
    if query.matrix == "output":
        inputs = [lab.models.embedding(model, "input", lab.part(i, 40).progress) for i, model in enumerate(pair)]
        if all(matrix.tied for matrix in inputs) or not all(model.facts.predicts for model in pair):
            return replace(recipe(replace(query, matrix="input"), lab.part(1, 20, 19)), tied=True)
    counted = counts(query.counted, lab.part(1, 20))
    rows = min(checkpoint.facts.vocabulary for checkpoint in pair)
    tokenizers = [lab.models.tokenizer(model.ref, model.base) for model in pair]
    tokenizer = max(tokenizers, key=lambda tokenizer: tokenizer.get_vocab_size())
    ids, names, group = _asked(query, tokenizer, counted.of_rows(rows))
    before, after = (
        lab.models.embedding(model, query.matrix, lab.part(i, 20).progress).rows[ids] for i, model in enumerate(pair, 2)
    )
    watch = lab.part(5, 20, 15).progress
    if query.method == "pca":
        placed = _on_axes(before, after, group, names)
    elif query.checkpoint == query.reference:
        placed = _first(at_unit_length(after), _fit(query), watch)
    else:
        start = recipe(replace(query, checkpoint=query.reference), lab.part(4, 20))
        shared = start.xy[np.isin(start.ids, ids)]  # the reference may have more tokens
        placed = _continued(at_unit_length(after), shared, start.noise_floor, _fit(query), watch)
    lab.progress(1.0, f"Fitted the map of {query.checkpoint.label}.")
    return Result(ids, display.name(tokenizer, ids.tolist()), names, group, *placed)


Placed = tuple[np.ndarray, float, float, float, np.ndarray]
_NO_AXES = np.full(2, np.nan)


def _asked(
    query: Query, tokenizer: Tokenizer, count: Int[np.ndarray, " rows"]
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Return the ids to place, the group names, and the group of each id (the last of several)."""
    chosen: dict[str, Any] = dict(choose(tokenizer, count, query.own, query.per_group))
    if query.scope == "vocabulary":
        del chosen[NEUTRAL]
        chosen |= lexicon.token_groups(tokenizer, query.own, len(count))
    group = np.full(len(count), -1)
    for position, members in enumerate(chosen.values()):
        group[np.asarray(members, dtype=np.int64)] = position
    ids = np.arange(len(count)) if query.scope == "vocabulary" else np.flatnonzero(group >= 0)
    return ids, tuple(chosen), group[ids]


def _fit(query: Query) -> Fit:
    method: Any = query.method
    return Fit(method, query.seed, query.perplexity, query.neighbours)


def _on_axes(before: np.ndarray, after: np.ndarray, group: np.ndarray, names: tuple[str, ...]) -> Placed:
    """Project on the reference's principal components; positive words lie to the right of and above negative words."""
    mean, components = pca.pca(before)
    sides = [before[group == names.index(group_name)] for group_name in (lexicon.POSITIVE, lexicon.NEGATIVE)]
    clear = all(len(side) for side in sides)
    towards = sides[0].mean(axis=0) - sides[1].mean(axis=0) if clear else np.zeros(before.shape[1])
    components = pca.orient(components, towards.astype(np.float64))
    first = pca.project(before, mean, components)
    xy = pca.project(after, after.mean(axis=0, dtype=np.float64), components)
    explained = pca.explained(after, components)
    return (
        xy.astype(np.float32),
        embedding_maps.drift(first, xy),
        0.0,
        embedding_maps.trustworthiness(after, xy),
        explained,
    )


def _first(rows: np.ndarray, fit: Fit, watch: Progress) -> Placed:
    """Fit the reference's map; return it with the drift of a second fit of the same rows."""
    xy, floor = fit.reference(rows, watch)
    return xy, 0.0, floor, embedding_maps.trustworthiness(rows, xy, fit.neighbours), _NO_AXES


def _continued(rows: np.ndarray, start: np.ndarray, floor: float, fit: Fit, watch: Progress) -> Placed:
    """Fit a checkpoint's map from the reference's positions."""
    xy = fit.continued(rows, start, watch)
    trust = embedding_maps.trustworthiness(rows, xy, fit.neighbours)
    return xy.astype(np.float32), embedding_maps.drift(start, xy), floor, trust, _NO_AXES


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries: words by every method and the vocabulary by PCA, for all checkpoints; KeyError for the label."""
    against, own = study.checkpoint(reference), lexicon.own_words(study.study.lexicon)
    maps: list[tuple[Method, Scope]] = [*((method, "words") for method in get_args(Method)), ("pca", "vocabulary")]
    return [
        Query(method, scope, checkpoint, against, count_query(study), own)
        for method, scope in maps
        for checkpoint in sorted(study.checkpoints, key=lambda other: other != against)
    ]
