"""The port to checkpoints for the models of this machine. Torch is imported only when a model must be opened."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from backend.caching.progress import Progress, silent, unwatched
from backend.caching.stopwatch import Stopwatch
from backend.errors import CheckpointError
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
from backend.models.comparisons import Comparisons
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Columns, Prompts

HALF_LIMIT = 65_504
"""The largest finite float16."""
LARGE_WEIGHT = 1e3
"""Weights below it cannot overflow float32 or bfloat16 in a forward pass of a model with norms."""


class LocalModels(Comparisons):
    """Checkpoints on this machine (or fetched from the hub to it), opened on LAYERSHIFT_DEVICE."""

    def check_values(self, checkpoint: PinnedCheckpoint, prompts: Prompts, run: bool) -> None:
        """Raise CheckpointError if weights or residuals are too large for the dtype that the checkpoint computes in.

        Unless weights show that nothing can overflow, the model must read a few prompts for that. It does so if `run`,
        and the result is cached; without it only a cached result counts.
        """
        largest, name = self.largest_weight(checkpoint.ref, checkpoint.base)
        half = checkpoint.dtype == "float16"
        if half and largest > HALF_LIMIT:
            raise CheckpointError(
                f"{checkpoint.ref.place} has a weight of {largest:,.0f} in {name}, beyond the largest float16 "
                f'({HALF_LIMIT:,}); set dtype = "float32" in study.toml.'
            )
        if not half and largest < LARGE_WEIGHT:
            return
        key = f"overflow/{checkpoint.fingerprint}/{checkpoint.dtype}"
        layer = self.cache.get_json(key)
        if layer is None and run:
            with self.lend(silent, checkpoint) as (loaded, _):
                from backend.models.measurements.overflow import overflow

                found = overflow(loaded, prompts.seen_by(checkpoint))
            layer = -1 if found is None else found
            self.cache.put_json(key, layer)
        if isinstance(layer, int) and layer >= 0:
            what = f"residuals from layer {layer} on" if layer <= checkpoint.facts.layers else "logits"
            damaged = f"its weights are damaged (the largest is {largest:.1e}, in {name}), so name another checkpoint"
            advice = 'set dtype = "float32" in study.toml' if half else damaged
            raise CheckpointError(
                f"{checkpoint.ref.place} gives {what} that are not finite in {checkpoint.dtype}; {advice}."
            )

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Return residuals and label logits at the readout position, float32.

        Raises CheckpointError, DeviceError, PromptError for prompts with more positions or other tokens than the model
        has, and whatever `progress` raises, between batches.
        """
        if checkpoint.dtype == "float16":
            self.check_values(checkpoint, prompts, run=True)
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements.residuals import collect

            stopwatch = Stopwatch()
            readout = collect(loaded, prompts, report)
            self.remember(checkpoint, int(prompts.lengths.sum()), stopwatch.seconds)
        return readout

    def label_logits(
        self,
        residuals: Float32[np.ndarray, "*places width"],
        label_tokens: tuple[int, ...],
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
        progress: Progress,
        normalized: bool = False,
    ) -> Float32[np.ndarray, "*places classes"]:
        """Apply the final norm of `norm` (None: skip it) and the unembedding of `head`. Raises CheckpointError."""
        checkpoints = (head,) if norm is None else (head, norm)
        with self.lend(progress, *checkpoints, label=head.label) as (with_head, *with_norm, _):
            from backend.models.measurements import logit_lens

            columns = Columns(label_tokens, normalized)
            return logit_lens.label_logits(residuals, columns, with_head, with_norm[0] if with_norm else None)

    def read_text(self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
        """Read the first of the prompts at every token and layer. Raises what `readout` raises."""
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import logit_lens

            return logit_lens.read_text(loaded, prompts, top, report)

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress) -> Embedding:
        """Return the row of every token.

        Raises UndefinedError for a model without an unembedding, CheckpointError, DeviceError.
        """
        with self.lend(progress, checkpoint) as (loaded, _):
            from backend.models.measurements.embeddings import embedding

            return embedding(loaded, which)

    def contributions(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Contributions:
        """Return what every component adds to the label logits. Raises what `readout` raises."""
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import direct_attribution

            return direct_attribution.contributions(loaded, prompts, report)

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "reviews blocks 2 2 width"]:
        """Return what each block of both models adds to the residuals of both. Raises what `readout` raises."""
        prompts = self.readable(prompts, checkpoint, reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import crossed_blocks

            return crossed_blocks.crossed_updates(after, before, prompts, report)

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress,
    ) -> OutputSpace:
        """Return what both predict for every text.

        Raises what `readout` raises, and UndefinedError for a model that predicts no tokens.
        """
        prompts = self.readable(prompts, checkpoint, reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import output_space

            return output_space.output_space(after, before, prompts, sets, report)

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress
    ) -> tuple[WeightChange, ...]:
        """Return the change of every weight, adapters merged. Raises CheckpointError, DeviceError."""
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import weight_changes

            return weight_changes.weight_changes(after, before, report)

    def swaps(
        self,
        host: PinnedCheckpoint,
        donor: PinnedCheckpoint,
        plan: tuple[Swap, ...],
        prompts: Prompts,
        progress: Progress,
        watch: Callable[[Swapped], None] = unwatched,
    ) -> Float32[np.ndarray, "swaps reviews classes"]:
        """Return label logits of the host with each swap of the plan. Raises what `readout` raises."""
        prompts = self.readable(prompts, host, donor)
        with self.lend(progress, host, donor, label=_pair(host, donor)) as (into, source, report):
            from backend.models.measurements.swaps import run_swaps

            return run_swaps(into, source, plan, prompts, report, watch)

    def steered(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "interventions reviews classes"]:
        """Return label logits under each intervention of the plan. Raises what `readout` raises."""
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import steering

            return steering.steered(loaded, plan, prompts, report)

    def side_effects(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> SideEffects:
        """Predict along the texts under each intervention. Raises what `output_space` raises."""
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import side_effects

            return side_effects.side_effects(loaded, plan, prompts, report)

    def continuation(
        self,
        checkpoint: PinnedCheckpoint,
        prompts: Prompts,
        intervention: Intervention | None,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress,
    ) -> tuple[int, ...]:
        """Continue the first prompt.

        Raises what `readout` raises, and UndefinedError for a model that predicts no tokens.
        """
        prompts = self.readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import generation

            return generation.continuation(loaded, prompts, intervention, tokens, sampling, report)

    def patch(self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Patched:
        """Patch each residual of the donor into the host on the first prompt. Raises what `readout` raises."""
        columns = prompts.seen_by(donor).columns
        prompts = self.readable(prompts, host, donor)
        with self.lend(progress, host, donor, label=_pair(host, donor)) as (into, source, report):
            from backend.models.measurements import patching

            return patching.patch(into, source, prompts, report, donor_columns=columns)


def _pair(host: PinnedCheckpoint, donor: PinnedCheckpoint) -> str:
    """Name both models of a swap or a patch."""
    return f"{donor.label} into {host.label}"
