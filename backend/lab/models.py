"""The port to checkpoints: every measurement of a model (its results are in `outputs`). No torch here."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64
from tokenizers import Tokenizer

from backend.caching.progress import Progress, unwatched
from backend.lab.differences import Differences, Merging, Promoted, ScaledPredictions, Scaling
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
from backend.study.chat import ChatTemplate
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.facts import Facts
from backend.study.token_ids import Prompts


@runtime_checkable
class Models(Protocol):
    """Port to checkpoints. Implemented by `backend.models`, faked by `tests.fakes`."""

    @property
    def device(self) -> str:
        """The name of the device that models run on; reading it opens no model."""
        ...

    def loaded(self) -> tuple[tuple[str, int], ...]:
        """Return the location of every model in memory, and its bytes; imports no torch."""
        ...

    def state(self, ref: CheckpointRef) -> Hashable | None:
        """Return what changes with any file of the checkpoint, None if that is unknown. Raises CheckpointError."""
        ...

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Return the digest of weights, config and tokenizer. Raises CheckpointError if a file is wrong."""
        ...

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        """Return architecture and sizes, read without torch."""
        ...

    def tokenizer(self, ref: CheckpointRef, base: CheckpointRef) -> Tokenizer:
        """Return the checkpoint's tokenizer (for an adapter without one, its base's)."""
        ...

    def chat_template(self, ref: CheckpointRef, base: CheckpointRef) -> ChatTemplate | None:
        """Return the chat template of the checkpoint's tokenizer; None without one."""
        ...

    def sets_token_types(self, ref: CheckpointRef, base: CheckpointRef) -> bool:
        """Whether transformers hands the token types of the checkpoint's tokenizer on to the model."""
        ...

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        """Raise CheckpointError unless the checkpoint can be opened and compared with the base (possibly itself).

        Names and shapes of its weights must match its architecture, architecture and sizes must match the base's, and
        token ids that both have must decode to the same text.
        """
        ...

    def weights_digest(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Return a digest that is equal for equal weights. Raises CheckpointError if the files cannot be read."""
        ...

    def check_prompts(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> None:
        """Raise CheckpointError or PromptError for prompts that the checkpoint cannot read."""
        ...

    def check_values(self, checkpoint: PinnedCheckpoint, prompts: Prompts, run: bool) -> None:
        """Raise CheckpointError if values overflow in the dtype of the checkpoint.

        Where a forward pass is needed, it runs if `run`; without it only the cached result of one counts.
        """
        ...

    def warnings(self, ref: CheckpointRef, base: CheckpointRef) -> tuple[str, ...]:
        """Return warnings about the files of a usable checkpoint, one sentence each."""
        ...

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Return residuals and label logits at the readout position."""
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
        """Apply the final norm of `norm` (None: no norm), then the unembedding of `head`.

        Returns logits, or if `normalized` log-probabilities over the whole vocabulary (nats).
        """
        ...

    def read_text(self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
        """Read the first of `prompts` at every token and layer, with the `top` most likely next tokens."""
        ...

    def contributions(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Contributions:
        """Return what embeddings, heads and MLPs add to the label logits (direct logit attribution)."""
        ...

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "reviews blocks 2 2 width"]:
        """Return each block's update of the residual stream at the readout position.

        The last axes of 2 are whose block and whose residuals: 0 the reference, 1 the checkpoint. A block reads the
        residuals of all positions of the prompt.
        """
        ...

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress) -> Embedding:
        """Return the row of every token, adapters merged. Raises UndefinedError for a model without an unembedding."""
        ...

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress,
    ) -> OutputSpace:
        """Compare next-token predictions and last residuals at every position; `sets` are sets of token ids."""
        ...

    def differences(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        groups: Int64[np.ndarray, " texts"],
        positions: int,
        progress: Progress,
    ) -> Differences:
        """Compare residuals and next-token predictions at every position, summed over the texts of each group.

        The first `positions` are also kept apart.
        """
        ...

    def merging(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Merging:
        """Compare an adapter merged onto its base with PEFT's unmerged one, on the first few prompts."""
        ...

    def promoted(
        self,
        directions: Float32[np.ndarray, "directions width"],
        random: Float32[np.ndarray, "random width"],
        head: PinnedCheckpoint,
        top: int,
        progress: Progress,
    ) -> Promoted:
        """Return the `top` tokens that each direction promotes through the final norm and unembedding of `head`.

        `random` are random directions to compare with.

        Raises UndefinedError for a model that predicts no tokens.
        """
        ...

    def scaled(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        plan: tuple[Scaling, ...],
        prompts: Prompts,
        progress: Progress,
    ) -> Float32[np.ndarray, "scalings reviews classes"]:
        """Return label logits of the reference under each scaling of its change to the checkpoint.

        The checkpoint's head answers where the reference has none.
        """
        ...

    def scaled_predictions(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        plan: tuple[Scaling, ...],
        prompts: Prompts,
        progress: Progress,
    ) -> ScaledPredictions:
        """Measure next-token predictions along the texts under each scaling of the change.

        Raises UndefinedError for a model that predicts no tokens.
        """
        ...

    def scaled_text(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        scaling: Scaling | float,
        prompts: Prompts,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress,
    ) -> tuple[int, ...]:
        """Continue the first of the prompts with scaled weights, greedily without `sampling`.

        A number alpha instead of a scaling amplifies the logits: after + alpha (after - before). Raises UndefinedError
        for a model that predicts no tokens.
        """
        ...

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress
    ) -> tuple[WeightChange, ...]:
        """Return the change of every weight, in the order of the file."""
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
        """Return label logits of the host with each swap of the plan: the donor's parts, everything else the host's.

        `watch` is called with every finished batch.
        """
        ...

    def steered(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "interventions reviews classes"]:
        """Return label logits of the checkpoint under each intervention of the plan, one at a time."""
        ...

    def side_effects(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> SideEffects:
        """Measure how interventions change next-token predictions along the texts.

        Raises UndefinedError for a model that predicts no tokens.
        """
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
        """Continue the first of the prompts, greedily without `sampling`.

        Returns at most `tokens` tokens, without the end-of-text token. Raises UndefinedError for a model that predicts
        no tokens.
        """
        ...

    def patch(self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Patched:
        """Return the host's label logits for the first prompt, with each residual in turn replaced by the donor's."""
        ...

    def starting(self) -> float:
        """Estimate the seconds until this process can open models; 0 once it has opened one."""
        ...

    def opening(self, checkpoint: PinnedCheckpoint) -> float:
        """Estimate the seconds to open the checkpoint; 0 while it is open."""
        ...

    def reading(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Estimate the seconds to run `tokens` tokens through the open checkpoint."""
        ...
