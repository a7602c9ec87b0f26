"""Random numbers of the fakes: the same for the same key, and the epoch that a checkpoint's path names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from backend.study.config import CheckpointRef

VOCABULARY = 1300
"""Larger than the tokenizer's."""


def generator(*key: object) -> np.random.Generator:
    """Return a generator that depends on the key only."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little"))


def epoch_of(ref: CheckpointRef) -> int:
    """Return the number at the end of the path; the base is epoch 0."""
    digits = "".join(c for c in Path(ref.place).name if c.isdigit())
    return int(digits) if digits else 0
