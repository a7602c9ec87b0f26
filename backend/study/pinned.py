"""A study pinned to content: fingerprinted checkpoints, the drawn sample, and its prompts as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames
from backend.study.config import Study
from backend.study.dataset import Sample, TrainingTexts
from backend.study.facts import Reading, reading
from backend.study.kinds import Need, lacks
from backend.study.prompts import Readers
from backend.study.token_ids import Prompts


@dataclass(frozen=True)
class Missing:
    """A checkpoint of the study that cannot be used, and one sentence with the reason and the remedy."""

    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class PinnedStudy:
    """A study at this moment: its sample, its prompts, and the usable checkpoints (the base first).

    `readers` tokenize and read out the prompts of each checkpoint, `classes` are the names of each class. `separator`
    is the text between prompt and label word (None with a classification head); `separator_found` is True if the
    checkpoints decided it. `warnings` are possible problems of the study's files, one sentence each. `own_texts` are
    those of the file in [difference].
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
    own_texts: tuple[str, ...] = ()

    @property
    def base(self) -> PinnedCheckpoint:
        """Return the base checkpoint."""
        return self.checkpoints[0]

    @property
    def content(self) -> tuple[tuple[str, str], ...]:
        """Return label and fingerprint of each checkpoint, which change when a checkpoint appears or is saved again."""
        return tuple((checkpoint.label, checkpoint.fingerprint) for checkpoint in self.checkpoints)

    @property
    def words(self) -> tuple[str, ...]:
        """Return the label words, or without these the names of the classes, in class order."""
        return tuple(names.word for names in self.classes)

    def lacks(self, need: Need) -> str | None:
        """Return what to add to study.toml for what an analysis needs; None if nothing."""
        return lacks(self.study.kind, need)

    def lacks_next_tokens(self, reference: str) -> str | None:
        """Return which model predicts no next tokens: the reference, or else every other; None if neither."""
        against, others = self.checkpoint(reference), [one for one in self.checkpoints if one.label != reference]
        if against.facts.predicts and (not others or any(one.facts.predicts for one in others)):
            return None
        label = others[-1].label if against.facts.predicts else reference
        return f"This needs next tokens, and {label} predicts none; use a causal language model."

    def lacks_head(self) -> str | None:
        """Return that no checkpoint answers; None if one does."""
        return (
            None
            if any(one.facts.has_head for one in self.checkpoints)
            else ("This needs answers, and no checkpoint has a head to answer with; use models with a head.")
        )

    def lacks_pair(self, reference: str) -> str | None:
        """Return why no checkpoint can be compared with the reference, by epoch and by token; None if one can."""
        against, others = self.checkpoint(reference), [one for one in self.epochs if one.label != reference]
        if not others:
            return f"This compares checkpoints of one training, and {reference} is the only one."
        if any(self.same_ids(one, against) for one in others):
            return None
        return f"This compares token by token, and no checkpoint has the token ids of {reference}."

    @property
    def reading(self) -> Reading:
        """Return the source of predictions."""
        return reading(self.study.family, [checkpoint.facts for checkpoint in self.checkpoints])

    @property
    def answering(self) -> tuple[PinnedCheckpoint, ...]:
        """Return the checkpoints that answer in label words; none in a study without."""
        return tuple(checkpoint for checkpoint in self.checkpoints if checkpoint.facts.replies)

    @property
    def predicting(self) -> tuple[PinnedCheckpoint, ...]:
        """Return the checkpoints that predict next tokens."""
        return tuple(checkpoint for checkpoint in self.checkpoints if checkpoint.facts.predicts)

    @property
    def epochs(self) -> tuple[PinnedCheckpoint, ...]:
        """Return the base and the checkpoints of its training in order, without repeats with another seed."""
        return tuple(checkpoint for checkpoint in self.checkpoints if checkpoint.ref.seed_of is None)

    @property
    def seeds(self) -> tuple[tuple[PinnedCheckpoint, PinnedCheckpoint], ...]:
        """Return each usable checkpoint of another seed with the checkpoint that it repeats."""
        by_label = {checkpoint.label: checkpoint for checkpoint in self.checkpoints}
        pairs = ((checkpoint, by_label.get(checkpoint.ref.seed_of or "")) for checkpoint in self.checkpoints)
        return tuple((repeat, original) for repeat, original in pairs if original is not None)

    def same_ids(self, one: PinnedCheckpoint, other: PinnedCheckpoint) -> bool:
        """Whether both see the same token ids, so that they can be compared token by token."""
        seen = [self.prompts.seen_by(checkpoint) for checkpoint in (one, other)]
        return seen[0].token_ids == seen[1].token_ids and seen[0].token_types == seen[1].token_types

    def tokenizing(self, checkpoint: PinnedCheckpoint) -> PinnedCheckpoint:
        """Return the checkpoint that provides the tokenizer: the base, unless their token ids differ."""
        return self.base if self.same_ids(self.base, checkpoint) else checkpoint

    def checkpoint(self, label: str) -> PinnedCheckpoint:
        """Return the checkpoint with this label. Raises KeyError if it could not be loaded."""
        for checkpoint in self.checkpoints:
            if checkpoint.label == label:
                return checkpoint
        raise KeyError(label)
