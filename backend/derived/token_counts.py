"""How often each token occurs in the texts that a study was trained on, or in its sample where those are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64
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
    """Whose tokenizer (the base's) counts which texts: the training texts, or the sample if there are none."""

    tokenizer: PinnedCheckpoint
    sample: Sample
    training: TrainingTexts | None


@dataclass(frozen=True, eq=False)
class Counts:
    """`count[i]` is how often token i occurs in all texts, whole and without the template.

    `source` says which texts, `note` in one sentence why and how many. Training may have read a part of them only
    (prompt.max_tokens, training.sample), which changes little about which tokens are frequent.
    """

    count: Int64[np.ndarray, " tokens"]
    source: Literal["training", "sample"]
    note: str

    def of_rows(self, rows: int) -> Int64[np.ndarray, " rows"]:
        """The counts of the first `rows` ids; an id that no text can have is 0."""
        padded = np.zeros(max(rows, len(self.count)), dtype=np.int64)
        padded[: len(self.count)] = self.count
        return padded[:rows]


def count_query(study: PinnedStudy) -> CountQuery:
    """What to ask for a study."""
    return CountQuery(study.base, study.sample, study.training)


def count_tokens(
    tokenizer: Tokenizer, texts: Sequence[str], progress: Progress = silent
) -> Int64[np.ndarray, " tokens"]:
    """Occurrences of every token id in the texts."""
    found = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for start in range(0, len(texts), BATCH):
        progress(start / len(texts), f"Counting tokens of {len(texts):,} texts.")
        encoded = tokenizer.encode_batch(list(texts[start : start + BATCH]), add_special_tokens=False)
        ids = np.concatenate([np.asarray(one.ids, dtype=np.int64) for one in encoded])
        longer = np.bincount(ids, minlength=len(found))
        longer[: len(found)] += found
        found = longer
    return found


@memoized(version=1)
def counts(query: CountQuery, lab: Lab) -> Counts:
    """The training texts where they are on this machine, else the sample, with the reason."""
    tokenizer = lab.models.tokenizer(query.tokenizer.ref, query.tokenizer.base)
    texts, source, why = _texts(query)
    found = count_tokens(tokenizer, texts, lab.progress)
    return Counts(found, source, f"{why} ({len(texts):,} texts, {int(found.sum()):,} tokens).")


def _texts(query: CountQuery) -> tuple[Sequence[str], Literal["training", "sample"], str]:
    if query.training is None:
        return query.sample.text, "sample", "Counted in the sample, because the study names no training texts"
    try:
        return query.training.texts(), "training", "Counted in the training texts"
    except DatasetError:
        return query.sample.text, "sample", "Counted in the sample, because the training texts are not on this machine"
