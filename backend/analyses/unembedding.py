"""Is the unembedding the same up to rotation and scale? Procrustes and cosine over the rows of all shared tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.caching.memoize import memoized
from backend.lab.lab import Lab
from backend.stats import cka
from backend.stats.rows import point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy

KEY = ("checkpoint", "reference")


@dataclass(frozen=True)
class Query:
    """The checkpoint and the reference whose unembeddings are compared."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """Measures over the `rows_shared` shared tokens; exact, without sampling error.

    `cosine` is the mean cosine between a token's rows before and after (-1..1), `procrustes` the disparity after the
    best rotation and scale of the centred rows (0..1), `*_chance` the same with tokens paired at random. `tied` says
    that both checkpoints have one matrix for input and output.
    """

    rows_shared: int
    tied: bool
    cosine: float
    cosine_chance: float
    procrustes: float
    procrustes_chance: float

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row."""
        row: dict[str, Any] = {
            "checkpoint": query.checkpoint.label,
            "reference": query.reference.label,
            "rows_shared": self.rows_shared,
            "tied": self.tied,
        }
        for name in ("cosine", "cosine_chance", "procrustes", "procrustes_chance"):
            row |= point(self, name)
        yield row


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Compare the rows of both checkpoints. UndefinedError if a model predicts no tokens."""
    lab.progress(0.0, f"Opening {query.reference.label} and {query.checkpoint.label}.")
    before = lab.models.embedding(query.reference, "output", lab.part(0, 4).progress)
    after = lab.models.embedding(query.checkpoint, "output", lab.part(1, 4).progress)
    shared = min(len(before.rows), len(after.rows))
    true, random = np.arange(shared), np.random.default_rng(query.seed).permutation(shared)
    measured = []
    for i, order in enumerate((true, random)):
        part, sentence = lab.part(2 + i, 4), f"Comparing {shared:,} rows of {query.checkpoint.label}."
        measured.append(
            cka.of_rows(
                after.rows[:shared],
                before.rows[:shared],
                order,
                lambda share, part=part, sentence=sentence: part.progress(share, sentence),
            )
        )
    lab.progress(1.0, f"Compared the unembeddings of {query.checkpoint.label} and {query.reference.label}.")
    own, chance = measured
    return Result(shared, before.tied and after.tied, own.cosine, chance.cosine, own.procrustes, chance.procrustes)


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return which model predicts no next tokens; None if both do."""
    return study.lacks_next_tokens(reference)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint that scores tokens, except the reference. KeyError without the reference."""
    against = study.checkpoint(reference)
    if not against.facts.predicts:
        return []
    return [Query(checkpoint, against) for checkpoint in study.predicting if checkpoint != against]
