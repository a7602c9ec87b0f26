"""Count how often each token occurs in a study's training texts, or in its sample if those are not available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, Int64
from tokenizers import Tokenizer

from backend.caching.memoize import memoized
from backend.caching.progress import Progress, silent
from backend.errors import DatasetError
from backend.lab.lab import Lab
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.dataset import Sample, TrainingTexts
from backend.study.pinned import PinnedStudy

BATCH = 500


@dataclass(frozen=True)
class CountQuery:
    """The base's tokenizer, and the texts to count: the training texts, or the sample if there are none."""

    tokenizer: PinnedCheckpoint
    sample: Sample
    training: TrainingTexts | None


@dataclass(frozen=True, eq=False)
class Counts:
    """`count[i]` is how often token i occurs in all texts, untruncated and without the template.

    `source` names the texts, and `note` says in one sentence why and how many. Training may have read only a part of
    them (prompt.max_tokens, training.sample), which changes little about which tokens are frequent.
    """

    count: Int64[np.ndarray, " tokens"]
    source: Literal["training", "sample"]
    note: str

    def of_rows(self, rows: int) -> Int64[np.ndarray, " rows"]:
        """Return the counts of the first `rows` ids; ids beyond the tokenizer's have count 0."""
        padded = np.zeros(max(rows, len(self.count)), dtype=np.int64)
        padded[: len(self.count)] = self.count
        return padded[:rows]


def count_query(study: PinnedStudy) -> CountQuery:
    """Return the query for a study."""
    return CountQuery(study.base, study.sample, study.training)


def count_tokens(
    tokenizer: Tokenizer, texts: Sequence[str], progress: Progress = silent
) -> Int64[np.ndarray, " tokens"]:
    """Count every token id in the texts."""
    occurrences = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for start in range(0, len(texts), BATCH):
        progress(start / len(texts), f"Counting tokens of {len(texts):,} texts.")
        encoded = tokenizer.encode_batch(list(texts[start : start + BATCH]), add_special_tokens=False)
        ids = np.concatenate([np.asarray(encoding.ids, dtype=np.int64) for encoding in encoded])
        longer = np.bincount(ids, minlength=len(occurrences))
        longer[: len(occurrences)] += occurrences
        occurrences = longer
    return occurrences


@memoized(version=1)
def counts(query: CountQuery, lab: Lab) -> Counts:
    """Count the training texts if they are on this machine, else the sample, with the reason."""
    tokenizer = lab.models.tokenizer(query.tokenizer.ref, query.tokenizer.base)
    texts, source, reason = _texts(query)
    occurrences = count_tokens(tokenizer, texts, lab.progress)
    return Counts(occurrences, source, f"{reason} ({len(texts):,} texts, {int(occurrences.sum()):,} tokens).")


def _texts(query: CountQuery) -> tuple[Sequence[str], Literal["training", "sample"], str]:
    if query.training is None:
        return query.sample.text, "sample", "Counted in the sample, because the study names no training texts"
    try:
        return query.training.texts(), "training", "Counted in the training texts"
    except DatasetError:
        return query.sample.text, "sample", "Counted in the sample, because the training texts are not on this machine"


def strata(count: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
    """Return the frequency stratum of each token: 0 never seen, then occurrences 1-2, 3-6, 7-14, each twice as wide."""
    return np.floor(np.log2(count + 1)).astype(np.int64)
