"""The port to checkpoints: what may be asked of a model (what comes back is in `readings`). No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64
from tokenizers import Tokenizer

from backend.errors import UndefinedError
from backend.facts import Facts
from backend.memo import NOT_IN_KEY
from backend.readings import (
    Contributions,
    Disturbance,
    Embedding,
    Intervention,
    Matrix,
    OutputSpace,
    Patched,
    Readout,
    Sampling,
    Swap,
    Swapped,
    TextReadout,
    WeightChange,
)
from backend.study import CheckpointRef

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and a sentence; raises Cancelled when the work is no longer wanted."""


def silent(_fraction: float, _sentence: str) -> None:
    """Progress that nobody watches."""


def unwatched(_found: object) -> None:
    """Work whose results nobody looks at before it is done."""


@dataclass(frozen=True)
class PinnedCheckpoint:
    """A checkpoint as content: the fingerprint of its files and the dtype it computes in."""

    fingerprint: str
    dtype: str
    ref: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    base: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    facts: Facts = field(metadata=NOT_IN_KEY, compare=False)
    device_map: str | None = field(default=None, metadata=NOT_IN_KEY, compare=False)

    @property
    def label(self) -> str:
        """The label that tables and pictures show."""
        return self.ref.label


@dataclass(frozen=True)
class Columns:
    """Which entries of a model's output are read: tokens of the vocabulary or rows of a head.

    As logits, or where `normalized` as log-probabilities over the whole output (nats).
    """

    tokens: tuple[int, ...]
    normalized: bool = False


@dataclass(frozen=True, eq=False)
class Prompts:
    """What the models see: token ids of each prompt, without padding, with the class of each and the label tokens.

    `digest` covers all that counts, `own` included; two equal digests mean equal input. `readout` is "last" token for
    causal models, "first" for encoders. `label_tokens` holds the first token of each label word, or the row of each
    class in a classification head; `following` the other tokens of each word, empty where every word is one token.
    `truncated` says which texts were cut, `lengths` counts tokens. `own` has the prompts of checkpoints, by
    fingerprint, whose token ids or head rows differ from these. `beginnings` counts, where the last tokens of a row
    begin a label word, those tokens; `normalized` says that log-probabilities are read (see `backend.whole_words`).
    `groups` tells copies of a text, which splits keep together; None where all texts and prompts differ.
    """

    digest: str
    token_ids: tuple[tuple[int, ...], ...] = field(metadata=NOT_IN_KEY)
    labels: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    label_tokens: tuple[int, ...] = field(metadata=NOT_IN_KEY)
    truncated: Bool[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    readout: str = field(default="last", metadata=NOT_IN_KEY)
    following: tuple[tuple[int, ...], ...] = field(default=(), metadata=NOT_IN_KEY)
    own: Mapping[str, Prompts] = field(default_factory=lambda: MappingProxyType({}), metadata=NOT_IN_KEY, repr=False)
    beginnings: tuple[int, ...] = field(default=(), metadata=NOT_IN_KEY)
    normalized: bool = field(default=False, metadata=NOT_IN_KEY)
    groups: Int64[np.ndarray, " reviews"] | None = field(default=None, metadata=NOT_IN_KEY)

    @property
    def lengths(self) -> Int64[np.ndarray, " reviews"]:
        """Tokens in each prompt."""
        return np.array([len(ids) for ids in self.token_ids], dtype=np.int64)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.label_tokens)

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        """All tokens of each label word, in class order."""
        following = self.following or ((),) * self.classes
        return tuple((first, *rest) for first, rest in zip(self.label_tokens, following, strict=True))

    @property
    def single(self) -> bool:
        """Whether every label word is one token, so that its logit answers."""
        return not any(self.following)

    @property
    def columns(self) -> Columns:
        """What is read at the readout position of each row."""
        return Columns(self.label_tokens, self.normalized)

    def first(self) -> Prompts:
        """The first of the prompts alone."""
        one = {"token_ids": self.token_ids[:1], "labels": self.labels[:1], "truncated": self.truncated[:1]}
        return replace(self, **one)

    def seen_by(self, checkpoint: PinnedCheckpoint) -> Prompts:
        """The prompts as this checkpoint sees them."""
        return self.own.get(checkpoint.fingerprint, self)


def other_ids(one: PinnedCheckpoint, other: PinnedCheckpoint) -> UndefinedError:
    """What is raised where two checkpoints that see different token ids are to be compared token by token."""
    return UndefinedError(
        f"{one.label} and {other.label} make different token ids of the texts, so they cannot be compared token by "
        f'token; set prompt.tokenizer = "base" to do so.'
    )


@runtime_checkable
class Models(Protocol):
    """Port to checkpoints. Implemented by `backend.checkpoints`, faked by `tests.fakes`."""

    @property
    def device(self) -> str:
        """The device that models run on, in words; asking for it opens nothing."""
        ...

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Digest of weights, config and tokenizer; CheckpointError with one sentence if anything is amiss."""
        ...

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        """Architecture and sizes, read without torch."""
        ...

    def tokenizer(self, ref: CheckpointRef, base: CheckpointRef) -> Tokenizer:
        """The checkpoint's tokenizer (an adapter without one has its base's)."""
        ...

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        """CheckpointError unless the checkpoint can be opened and fits the base (which may be itself).

        Names and shapes of its weights are those of its architecture, which is the base's with the base's sizes, and
        ids that both have decode alike.
        """
        ...

    def weights_digest(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Equal for checkpoints that hold the same weights; CheckpointError if the files cannot be read."""
        ...

    def check_prompts(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> None:
        """CheckpointError or PromptError for prompts that the checkpoint cannot read."""
        ...

    def warnings(self, ref: CheckpointRef, base: CheckpointRef) -> tuple[str, ...]:
        """Doubts about a usable checkpoint that its files raise, one sentence each."""
        ...

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Residuals and label logits at the readout position."""
        ...

    def label_logits(
        self,
        residuals: Float32[np.ndarray, "*places width"],
        label_tokens: tuple[int, ...],
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
        progress: Progress,
        normalized: bool = False,
    ) -> Float32[np.ndarray, "*places classes"]:
        """Residuals through the final norm of `norm` (None: no norm), then the unembedding of `head`.

        As logits, or where `normalized` as log-probabilities over the whole vocabulary (nats).
        """
        ...

    def read_text(self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
        """One prompt (the first of `prompts`) at every token and layer, with its `top` likeliest next tokens."""
        ...

    def contributions(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Contributions:
        """What embeddings, heads and MLPs add to the label logits (direct logit attribution)."""
        ...

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "reviews blocks 2 2 width"]:
        """What each block adds to the residual stream at the readout position: [..., whose block, whose residuals].

        Index 0 is the reference, 1 the checkpoint; residuals are those of every position of the prompt.
        """
        ...

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress) -> Embedding:
        """The row of every token, adapters merged; UndefinedError where the model has no unembedding."""
        ...

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress,
    ) -> OutputSpace:
        """Next-token predictions and final hidden states of both, at every position; `sets` are sets of token ids."""
        ...

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress
    ) -> tuple[WeightChange, ...]:
        """The change of every two-dimensional weight, in the order of the file."""
        ...

    def swaps(
        self,
        host: PinnedCheckpoint,
        donor: PinnedCheckpoint,
        plan: tuple[Swap, ...],
        prompts: Prompts,
        progress: Progress,
        watch: Callable[[Swapped], None] = unwatched,
    ) -> Float32[np.ndarray, "swaps reviews classes"]:
        """Label logits of the host with each swap of the plan; the donor's parts, all the rest its own.

        `watch` is shown every batch that is done.
        """
        ...

    def steered(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "interventions reviews classes"]:
        """Label logits of the checkpoint under each intervention of the plan, one at a time."""
        ...

    def disturbed(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> Disturbance:
        """What interventions do to next-token predictions along the texts; UndefinedError where there are none."""
        ...

    def continuation(
        self,
        checkpoint: PinnedCheckpoint,
        prompts: Prompts,
        intervention: Intervention | None,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress,
    ) -> tuple[int, ...]:
        """What the checkpoint writes behind the first of the prompts, greedily without `sampling`.

        At most `tokens` tokens, up to the end of text, which is left out; UndefinedError for models that predict none.
        """
        ...

    def patch(self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Patched:
        """The host's answers to the first of the prompts, each residual in turn replaced by the donor's."""
        ...

    def seconds(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Expected seconds to run `tokens` tokens through the checkpoint, opening it included."""
        ...
