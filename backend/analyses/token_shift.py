"""Which tokens did training move? How far every row of the input embedding went, and of an untied unembedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from backend import lexicon, metrics, tokens
from backend.lab import Lab, PinnedCheckpoint, PinnedStudy
from backend.memo import memoized
from backend.tidy import cell
from backend.token_counts import CountQuery, count_query, counts

CHUNK = 4096
"""Rows compared at once, so that double precision needs little memory."""
MEASURES = ("l2", "cosine_distance", "l2_centred")


@dataclass(frozen=True)
class Query:
    """Whose rows are set against whose, how tokens are counted, and the word lists that a study brings."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    counted: CountQuery
    own: lexicon.Words = ()


@dataclass(frozen=True, eq=False)
class Moved:
    """How far each row of one matrix went from the reference to the checkpoint.

    `l2` is the length of the change, `cosine_distance` 1 - cosine of the row before and after (0..2, NaN where one of
    them is zero), `l2_centred` the length of the change without the mean change of all rows, `common` the length of
    that mean: a drift that all rows share changes no softmax at a tied output. l2 in units of the embedding.
    """

    l2: Float[np.ndarray, " tokens"]
    cosine_distance: Float[np.ndarray, " tokens"]
    l2_centred: Float[np.ndarray, " tokens"]
    common: float


@dataclass(frozen=True, eq=False)
class Result:
    """The shift of every token id that both checkpoints have, those of an extended vocabulary left out.

    `group[i]` is the position in `groups` of the word list that the token is in (the last if several), -1 of none.
    `output_*` is that of the unembedding, NaN throughout where checkpoint and reference both have it `tied` to the
    input embedding. `token` is how the id reads, `count` how often it occurs in the texts that `count_note` names
    (`counted_in`: training or sample).
    """

    token: tuple[str, ...]
    groups: tuple[str, ...]
    group: Int64[np.ndarray, " tokens"]
    count: Int64[np.ndarray, " tokens"]
    counted_in: str
    count_note: str
    tied: bool
    l2: Float[np.ndarray, " tokens"]
    cosine_distance: Float[np.ndarray, " tokens"]
    l2_centred: Float[np.ndarray, " tokens"]
    common: float
    output_l2: Float[np.ndarray, " tokens"]
    output_cosine_distance: Float[np.ndarray, " tokens"]
    output_l2_centred: Float[np.ndarray, " tokens"]
    output_common: float

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """One row per token; the columns `output_*` are empty where both matrices are one."""
        for i in range(len(self.token)):
            yield {"checkpoint": query.checkpoint.label, **self.row(i)}

    def row(self, token: int) -> dict[str, Any]:
        """What is known about one token id."""
        group = int(self.group[token])
        found = {"token_id": token, "token": self.token[token]}
        found |= {name: cell(getattr(self, name)[token]) for name in MEASURES}
        found |= {"group": self.groups[group] if group >= 0 else None}
        found |= {"count": int(self.count[token]), "counted_in": self.counted_in}
        return found | {name: cell(getattr(self, name)[token]) for name in map("output_{}".format, MEASURES)}

    def measure(self, name: str, matrix: str) -> Float[np.ndarray, " tokens"]:
        """One of MEASURES of the `input` or the `output` matrix; tied ones are the same."""
        return getattr(self, name if matrix == "input" or self.tied else f"output_{name}")


def moved(before: Float[np.ndarray, "rows width"], after: Float[np.ndarray, "rows2 width"]) -> Moved:
    """How far the rows that both matrices have went, in double precision."""
    rows = min(len(before), len(after))
    parts = [slice(start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK)]
    mean = sum(_change(before, after, part).sum(axis=0) for part in parts) / rows
    l2, distance, centred = np.empty(rows), np.empty(rows), np.empty(rows)
    for part in parts:
        change = _change(before, after, part)
        l2[part] = np.sqrt(metrics.squared_norm(change))
        centred[part] = np.sqrt(metrics.squared_norm(change - mean))
        distance[part] = _cosine_distance(before[part], after[part])
    return Moved(l2, distance, centred, float(np.sqrt(metrics.squared_norm(np.asarray(mean)))))


def _change(before: np.ndarray, after: np.ndarray, part: slice) -> Float[np.ndarray, "part width"]:
    return after[part].astype(np.float64) - before[part]


def _cosine_distance(before: np.ndarray, after: np.ndarray) -> Float[np.ndarray, " part"]:
    """1 - cosine as half the squared distance of unit vectors, which loses no digits where it is small."""
    units = [one / np.where(norm > 0, norm, np.nan) for one, norm in map(_with_norm, (before, after))]
    return metrics.squared_norm(units[1] - units[0]) / 2


def _with_norm(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.astype(np.float64)
    return rows, np.sqrt(metrics.squared_norm(rows))[:, None]


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Open both checkpoints for their rows, and count the tokens."""
    counted = counts(query.counted, lab.part(0, 2))
    asked = lab.part(1, 2)
    before = lab.models.embedding(query.reference, "input", asked.part(0, 4).progress)
    after = lab.models.embedding(query.checkpoint, "input", asked.part(1, 4).progress)
    tied = before.tied and after.tied
    found = moved(before.rows, after.rows)
    nothing = np.full(len(found.l2), np.nan)
    unembedded = Moved(nothing, nothing, nothing, np.nan)
    del before, after  # of a large model they take gigabytes
    if not tied:
        unembedded = moved(
            lab.models.embedding(query.reference, "output", asked.part(2, 4).progress).rows,
            lab.models.embedding(query.checkpoint, "output", asked.part(3, 4).progress).rows,
        )
    tokenizers = [lab.models.tokenizer(one.ref, one.base) for one in (query.reference, query.checkpoint)]
    tokenizer = max(tokenizers, key=lambda one: one.get_vocab_size())
    members = lexicon.token_groups(tokenizer, query.own, len(found.l2))
    group = np.full(len(found.l2), -1)
    for position, ids in enumerate(members.values()):
        group[list(ids)] = position
    lab.progress(1.0, f"The tokens of {query.checkpoint.label} are compared.")
    return Result(
        token=tokens.names(tokenizer, len(found.l2)),
        groups=tuple(members),
        group=group,
        count=counted.of_rows(len(found.l2)),
        counted_in=counted.source,
        count_note=counted.note,
        tied=tied,
        **vars(found),
        **{f"output_{name}": value for name, value in vars(unembedded).items()},
    )


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Every checkpoint but the reference; KeyError if no checkpoint has its label."""
    against = study.checkpoint(reference)
    own = lexicon.own_words(study.study.lexicon)
    return [Query(one, against, count_query(study), own) for one in study.checkpoints if one.label != reference]
