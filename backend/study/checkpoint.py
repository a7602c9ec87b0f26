"""A checkpoint pinned to its content."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.caching.serialize import NOT_IN_KEY
from backend.study.config import CheckpointRef
from backend.study.facts import Facts


@dataclass(frozen=True)
class PinnedCheckpoint:
    """A checkpoint identified by its content: the fingerprint of its files and the dtype of its computations."""

    fingerprint: str
    dtype: str
    ref: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    base: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    facts: Facts = field(metadata=NOT_IN_KEY, compare=False)
    device_map: str | None = field(default=None, metadata=NOT_IN_KEY, compare=False)

    @property
    def label(self) -> str:
        """Return the label for tables and pictures."""
        return self.ref.label
