"""Did a token keep its neighbours? Its nearest tokens before and after training, and their overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from backend.caching.memoize import memoized
from backend.caching.progress import Progress, silent
from backend.lab.lab import Lab
from backend.lab.outputs import Matrix
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary import display

KEY = ("checkpoint", "matrix", "token_id")

CHUNK_VALUES = 2**24
"""Cosines held at once, 64 MiB of float32."""
EXPORTED_COSINES = 2**28
"""Maximum number of cosines in an export, for each matrix."""


@dataclass(frozen=True)
class Query:
    """The `k` nearest tokens of the tokens `ids` (None: all) by cosine, among the shared ids."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    ids: tuple[int, ...] | None = None
    matrix: Matrix = "input"
    k: int = 10


@dataclass(frozen=True)
class NearestQuery:
    """The same for one checkpoint, among its first `rows` ids."""

    checkpoint: PinnedCheckpoint
    ids: tuple[int, ...] | None
    matrix: Matrix
    k: int
    rows: int


@dataclass(frozen=True, eq=False)
class Nearest:
    """The ids of the nearest tokens, nearest first; -1 throughout for a row of zeros, which has no cosine."""

    ids: Int[np.ndarray, "tokens k"]


@dataclass(frozen=True, eq=False)
class Result:
    """The neighbours of the tokens `ids`, `before` and `after`, as ids, nearest first (-1: none).

    `overlap` is the share of the neighbours that stayed, 0..1, NaN where a row is zero in either checkpoint. `named`
    are all ids that occur, ascending, and `names` their texts.
    """

    ids: Int[np.ndarray, " tokens"]
    overlap: Float64[np.ndarray, " tokens"]
    before: Int[np.ndarray, "tokens k"]
    after: Int[np.ndarray, "tokens k"]
    named: Int[np.ndarray, " named"]
    names: tuple[str, ...]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per token; neighbours share a cell, separated by spaces (which no name contains)."""
        for row in self.tokens():
            yield {"checkpoint": query.checkpoint.label, "matrix": query.matrix, **row}

    def tokens(self) -> Iterator[dict[str, Any]]:
        """Yield the row of each token."""
        reads = dict(zip(self.named.tolist(), self.names, strict=True))
        for i, token in enumerate(self.ids.tolist()):
            yield {
                "token_id": token,
                "token": reads[token],
                "overlap": cell(self.overlap[i]),
                "nearest_before": " ".join(reads[token] for token in self.before[i].tolist() if token >= 0),
                "nearest_after": " ".join(reads[token] for token in self.after[i].tolist() if token >= 0),
            }


def nearest(
    rows: Float32[np.ndarray, "all width"], ids: Int[np.ndarray, " tokens"], k: int, progress: Progress = silent
) -> Int[np.ndarray, "tokens k"]:
    """Return the k rows of largest cosine with each of the rows `ids`, itself excluded; ties: lower ids."""
    norms = np.linalg.norm(rows, axis=1)
    units = rows / np.where(norms > 0, norms, 1)[:, None]
    k = min(k, int((norms > 0).sum()) - 1)
    neighbours = np.full((len(ids), max(1, k)), -1, dtype=np.int64)
    size = max(1, CHUNK_VALUES // len(rows))
    for start in range(0, len(ids), size) if k > 0 else ():
        progress(start / len(ids), f"Comparing tokens with all others: {start:,} of {len(ids):,}.")
        chosen = ids[start : start + size]
        cosines = units[chosen] @ units.T
        cosines[:, norms == 0] = -np.inf
        cosines[np.arange(len(chosen)), chosen] = -np.inf
        neighbours[start : start + size] = _largest(cosines, k)
    neighbours[norms[ids] == 0] = -1
    return neighbours


def _largest(values: Float32[np.ndarray, "tokens all"], k: int) -> Int[np.ndarray, "tokens k"]:
    """Return the columns of the k largest values of each row, largest first; ten times as fast as argpartition."""
    least = np.partition(values, values.shape[1] - k, axis=1)[:, -k]
    largest = np.empty((len(values), k), dtype=np.int64)
    candidates = values >= least[:, None]
    for i, columns in enumerate(_columns(candidates)):
        largest[i] = columns[np.argsort(-values[i, columns], kind="stable")[:k]]
    return largest


def _columns(chosen: Bool[np.ndarray, "tokens all"]) -> list[np.ndarray]:
    """Return the columns that are True, row by row."""
    return np.split(np.nonzero(chosen)[1], chosen.sum(axis=1).cumsum()[:-1])


def overlap(before: Int[np.ndarray, "tokens k"], after: Int[np.ndarray, "tokens k2"]) -> Float64[np.ndarray, " tokens"]:
    """Return the share of the neighbours before that are neighbours after, 0..1; NaN where either has none."""
    stayed = np.array([np.isin(a, b).mean() for a, b in zip(before, after, strict=True)])
    return np.where((before[:, 0] < 0) | (after[:, 0] < 0), np.nan, stayed)


@memoized(version=1)
def nearest_tokens(query: NearestQuery, lab: Lab) -> Nearest:
    """Find the nearest tokens in one checkpoint; separate, because all epochs share the reference."""
    lab.progress(0.0, f"Opening {query.checkpoint.label}.")
    rows = lab.models.embedding(query.checkpoint, query.matrix, lab.progress).rows[: query.rows]
    ids = np.arange(len(rows)) if query.ids is None else np.array(query.ids, dtype=np.int64)
    return Nearest(nearest(rows, ids, query.k, lab.progress))


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Compare tokens with all others in both checkpoints: minutes for all of GPT-2's, seconds for a hundred."""
    pair = (query.reference, query.checkpoint)
    shared = min(checkpoint.facts.vocabulary for checkpoint in pair)
    before, after = (
        nearest_tokens(NearestQuery(checkpoint, query.ids, query.matrix, query.k, shared), lab.part(i, 2)).ids
        for i, checkpoint in enumerate(pair)
    )
    ids = np.arange(shared) if query.ids is None else np.array(query.ids, dtype=np.int64)
    mentioned = np.unique(np.concatenate([ids, before.ravel(), after.ravel()]))
    mentioned = mentioned[mentioned >= 0]
    tokenizers = [lab.models.tokenizer(checkpoint.ref, checkpoint.base) for checkpoint in pair]
    names = display.name(max(tokenizers, key=lambda tokenizer: tokenizer.get_vocab_size()), mentioned.tolist())
    lab.progress(1.0, f"Compared the neighbours of the tokens of {query.checkpoint.label}.")
    return Result(ids, overlap(before, after), before, after, mentioned, names)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every other checkpoint: all tokens, or evenly spaced ones beyond 16,384.

    By input embedding. KeyError if no checkpoint has the label.
    """
    against = study.checkpoint(reference)
    result = []
    for checkpoint in study.checkpoints:
        shared = min(checkpoint.facts.vocabulary, against.facts.vocabulary)
        step = -(-(shared**2) // EXPORTED_COSINES)
        ids = None if step == 1 else tuple(range(0, shared, step))
        result += [Query(checkpoint, against, ids)] if checkpoint.label != reference else []
    return result
