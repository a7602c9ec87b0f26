"""The port to checkpoints: what may be asked of a model (what comes back is in `readings`). No torch here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from tokenizers import Tokenizer

from backend.caching.progress import Progress, unwatched
from backend.lab.outputs import (
    Contributions,
    Embedding,
    Intervention,
    Matrix,
    OutputSpace,
    Patched,
    Readout,
    Sampling,
    SideEffects,
    Swap,
    Swapped,
    TextReadout,
    WeightChange,
)
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.facts import Facts
from backend.study.token_ids import Prompts


@runtime_checkable
class Models(Protocol):
    """Port to checkpoints. Implemented by `backend.models`, faked by `tests.fakes`."""

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

    def sets_token_types(self, ref: CheckpointRef, base: CheckpointRef) -> bool:
        """Whether transformers hands the token types of the checkpoint's tokenizer on to the model."""
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

    def side_effects(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> SideEffects:
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
