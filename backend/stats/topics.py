"""Group the changes of many positions into topics: non-negative matrix factorization of positions x tokens."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float, Int

MOST_POSITIONS = 8000
"""Positions that are factorized: those of the largest changes."""
FEWEST = 3
"""Positions in which a token must occur to be in a topic."""
Tokens = Int[np.ndarray, "positions top"]
Values = Float[np.ndarray, "positions top"]


@dataclass(frozen=True, eq=False)
class Topics:
    """Topics of a matrix of positions x tokens, the largest first.

    `tokens` has the weight of each token id in each topic, of length 1; `positions` the weight of each topic at each
    position (0 where it was left out), and `share` the share of each topic in the sum of the whole factorization.
    """

    tokens: Float[np.ndarray, "topics vocabulary"]
    positions: Float[np.ndarray, "positions topics"]
    share: Float[np.ndarray, " topics"]


def factorize(token: Tokens, value: Values, vocabulary: int, topics: int, seed: int) -> Topics:
    """Factorize the square roots of the values, times log(positions / positions with the token).

    Roots keep a few positions, and the factor keeps tokens that occur everywhere, from deciding every topic. Returns no
    topics where fewer than two tokens occur often enough. Lee and Seung 1999, Nature 401 (NMF); Sparck Jones 1972,
    Journal of Documentation 28 (the factor).
    """
    from sklearn.decomposition import NMF  # on use: it delays the first page
    from sklearn.exceptions import ConvergenceWarning

    rows = np.sort(np.argsort(-value.sum(axis=1), kind="stable")[:MOST_POSITIONS])
    counts = np.bincount(token[rows][value[rows] > 0], minlength=vocabulary)
    kept = np.flatnonzero(counts >= FEWEST)
    if len(kept) < 2:
        return Topics(np.empty((0, vocabulary)), np.zeros((len(token), 0)), np.empty(0))
    rarity = np.log(len(rows) / counts[kept]) + 1e-3
    matrix = _matrix(token[rows], value[rows], vocabulary)[:, kept].multiply(rarity).tocsr()
    count: Any = min(topics, *matrix.shape)  # scikit-learn's stub knows a string only
    model = NMF(count, init="nndsvda", random_state=seed, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a topic needs no third digit
        warnings.simplefilter("ignore", RuntimeWarning)  # the error of an exact fit is a rounded 0, below 0
        weights = model.fit_transform(matrix)
    found = np.asarray(model.components_, dtype=np.float64)
    lengths = np.linalg.norm(found, axis=1)
    size = weights.sum(axis=0) * found.sum(axis=1)
    order = [k for k in np.argsort(-size, kind="stable").tolist() if size[k] > 0]
    tokens = np.zeros((len(order), vocabulary))
    tokens[:, kept] = found[order] / lengths[order, None]
    positions = np.zeros((len(token), len(order)))
    positions[rows] = weights[:, order] * lengths[order]
    return Topics(tokens, positions, size[order] / max(size.sum(), 1e-300))


def _matrix(token: Tokens, value: Values, vocabulary: int) -> scipy.sparse.csr_matrix:
    row = np.repeat(np.arange(len(token)), token.shape[1])
    roots = np.sqrt(np.maximum(value.astype(np.float64), 0))
    return scipy.sparse.csr_matrix((roots.ravel(), (row, token.ravel())), shape=(len(token), vocabulary))


def likeness(topics: Topics, others: Topics) -> Float[np.ndarray, " topics"]:
    """Return the cosine of each topic's tokens with those of the most similar topic among the others; 0 without any."""
    if not len(others.share):
        return np.zeros(len(topics.share))
    return np.clip((topics.tokens @ others.tokens.T).max(axis=1), 0.0, 1.0)


def stability(
    topics: Topics, token: Tokens, value: Values, text: Int[np.ndarray, " positions"], seed: int
) -> tuple[Float[np.ndarray, " topics"], float]:
    """Return how well each topic is found again in two halves of the texts (cosine, 0..1), and its chance level.

    Halves are random; the smaller of both cosines counts. Chance: the largest cosine of topics of shuffled entries, in
    which a token stands beside random others.
    """
    if not len(topics.share):
        return np.empty(0), float("nan")
    rng, vocabulary, count = np.random.default_rng(seed), topics.tokens.shape[1], len(topics.share)
    first = rng.permutation(np.arange(text.max() + 1) % 2)[text] == 0
    halves = [factorize(token[half], value[half], vocabulary, count, seed) for half in (first, ~first)]
    found = np.minimum(*(likeness(topics, half) for half in halves))
    shuffled = rng.permutation(token.ravel()).reshape(token.shape)
    random = factorize(shuffled, value, vocabulary, count, seed)
    chance = likeness(random, halves[0]).max() if len(random.share) else np.nan
    return found, float(chance)


def passages(weights: Float[np.ndarray, " positions"], text: Int[np.ndarray, " positions"], most: int) -> list[int]:
    """Return the positions of the largest weights above 0, at most one per text."""
    chosen: list[int] = []
    seen: set[int] = set()
    for place in np.argsort(-weights, kind="stable").tolist():
        if len(chosen) == most or not weights[place] > 0:
            break
        if int(text[place]) not in seen:
            seen.add(int(text[place]))
            chosen.append(place)
    return chosen
