"""A study pinned to content: fingerprinted checkpoints, the drawn sample, and its prompts as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames
from backend.study.config import Study
from backend.study.dataset import Sample, TrainingTexts
from backend.study.facts import Reading, reading
from backend.study.prompts import Readers
from backend.study.token_ids import Prompts


@dataclass(frozen=True)
class Missing:
    """A checkpoint that the study names and that cannot be used, with one sentence that says why and what to do."""

    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class PinnedStudy:
    """A study at this moment: its sample, its prompts, and the checkpoints that are there (the base first).

    `readers` say how each checkpoint is asked, `classes` what each class is called. `separator` stands between prompt
    and label word (None where a head answers); `separator_found` says that the checkpoints decided it. `warnings` are
    doubts that the study's files raise, one sentence each.
    """

    study: Study
    sample: Sample
    prompts: Prompts
    checkpoints: tuple[PinnedCheckpoint, ...]
    missing: tuple[Missing, ...]
    training: TrainingTexts | None
    readers: Readers
    classes: tuple[ClassNames, ...]
    separator: str | None = None
    separator_found: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def base(self) -> PinnedCheckpoint:
        """The base checkpoint."""
        return self.checkpoints[0]

    @property
    def reading(self) -> Reading:
        """What answers here."""
        return reading(self.study.family, [one.facts for one in self.checkpoints])

    @property
    def answering(self) -> tuple[PinnedCheckpoint, ...]:
        """The checkpoints that answer: those with a head."""
        return tuple(one for one in self.checkpoints if one.facts.has_head)

    @property
    def predicting(self) -> tuple[PinnedCheckpoint, ...]:
        """The checkpoints that predict next tokens."""
        return tuple(one for one in self.checkpoints if one.facts.predicts)

    @property
    def epochs(self) -> tuple[PinnedCheckpoint, ...]:
        """The base and the checkpoints of its training in order, without those of another seed."""
        return tuple(one for one in self.checkpoints if one.ref.seed_of is None)

    def after(self, checkpoint: PinnedCheckpoint) -> PinnedCheckpoint | None:
        """The epoch that follows; None behind the last one, and behind a checkpoint of another seed."""
        labels = [one.label for one in self.epochs]
        following = labels.index(checkpoint.label) + 1 if checkpoint.label in labels else len(labels)
        return self.epochs[following] if following < len(labels) else None

    @property
    def seeds(self) -> tuple[tuple[PinnedCheckpoint, PinnedCheckpoint], ...]:
        """Each checkpoint of another seed, and the one that it repeats, where both are there."""
        there = {one.label: one for one in self.checkpoints}
        pairs = ((one, there.get(one.ref.seed_of or "")) for one in self.checkpoints)
        return tuple((one, twin) for one, twin in pairs if twin is not None)

    def same_ids(self, one: PinnedCheckpoint, other: PinnedCheckpoint) -> bool:
        """Whether both see the same token ids, so that they can be compared token by token."""
        seen = [self.prompts.seen_by(checkpoint) for checkpoint in (one, other)]
        return seen[0].token_ids == seen[1].token_ids and seen[0].token_types == seen[1].token_types

    def tokenizing(self, checkpoint: PinnedCheckpoint) -> PinnedCheckpoint:
        """The checkpoint whose tokenizer it reads with: the base, unless their token ids differ."""
        return self.base if self.same_ids(self.base, checkpoint) else checkpoint

    def checkpoint(self, label: str) -> PinnedCheckpoint:
        """The checkpoint with that label; KeyError if it is not among those that are there."""
        for checkpoint in self.checkpoints:
            if checkpoint.label == label:
                return checkpoint
        raise KeyError(label)
