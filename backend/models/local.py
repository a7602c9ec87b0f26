"""The port to checkpoints for the models of this machine. Torch is imported only when a model must be opened."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float32

from backend.caching.cache import Cache
from backend.caching.progress import Progress, unwatched
from backend.caching.stopwatch import Stopwatch, apart
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
from backend.models.catalogue import Catalogue
from backend.models.runtime.device_names import likely_device
from backend.models.speed import Speed
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Columns, Prompts, other_ids

_ENOUGH_TOKENS = 500
"""Tokens of a run from which its speed is remembered; shorter ones, such as one typed text, estimate it badly."""


class LocalModels(Catalogue):
    """Checkpoints on this machine (or fetched from the hub to it), opened on LAYERSHIFT_DEVICE."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._store: Any = None
        self._speed = Speed(cache)
        self._making = threading.Lock()

    @property
    def device(self) -> str:
        """The device that models run on; the likely one until torch is imported."""
        return likely_device() if self._store is None else str(self._store.device)

    @property
    def store(self) -> Any:
        """The `Store` of loaded models; importing torch starts here. Raises DeviceError."""
        with self._making:
            if self._store is None:
                fresh, started = "torch" not in sys.modules, time.perf_counter()
                with apart():
                    from backend.models.runtime.store import Store

                    self._store = Store(self._cache)
                if fresh:
                    self._speed.imported(time.perf_counter() - started)
            return self._store

    @contextmanager
    def lend(
        self, progress: Progress, *checkpoints: PinnedCheckpoint, label: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the `LoadedModel` of each checkpoint, then progress whose sentences start with `label`.

        The default is the last checkpoint's label. Models open in the order given. Importing torch starts here, so a
        method imports its measurement inside the block. Raises CheckpointError, DeviceError and what `progress` does.
        """
        label = label or checkpoints[-1].label
        progress(0.0, f"Preparing to open {label}.")
        with ExitStack() as lent:
            yield (
                *(lent.enter_context(self.store.borrow(checkpoint, progress)) for checkpoint in checkpoints),
                _labelled(progress, label),
            )

    def _readable(
        self, prompts: Prompts, checkpoint: PinnedCheckpoint, other: PinnedCheckpoint | None = None
    ) -> Prompts:
        """Return the prompts with the checkpoint's own token ids, once they are sure to be readable.

        Raises CheckpointError or PromptError, and UndefinedError where `other` has other token ids.
        """
        readable = prompts.seen_by(checkpoint)
        self.check_prompts(checkpoint, readable)
        if other is not None:
            compared = prompts.seen_by(other)
            self.check_prompts(other, compared)
            if (compared.token_ids, compared.token_types) != (readable.token_ids, readable.token_types):
                raise other_ids(checkpoint, other)
        return readable

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Return residuals and label logits at the readout position, float32.

        Raises CheckpointError, DeviceError, PromptError for prompts with more positions or other tokens than the model
        has, and whatever `progress` raises, between batches.
        """
        prompts = self._readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements.residuals import collect

            stopwatch = Stopwatch()
            readout = collect(loaded, prompts, report)
            tokens = int(prompts.lengths.sum())
            if tokens >= _ENOUGH_TOKENS:
                self._speed.read(checkpoint, tokens, self.device, stopwatch.seconds)
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
        prompts = self._readable(prompts, checkpoint)
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
        prompts = self._readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import direct_attribution

            return direct_attribution.contributions(loaded, prompts, report)

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "reviews blocks 2 2 width"]:
        """Return what each block of both models adds to the residuals of both. Raises what `readout` raises."""
        prompts = self._readable(prompts, checkpoint, reference)
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
        prompts = self._readable(prompts, checkpoint, reference)
        with self.lend(progress, reference, checkpoint) as (before, after, report):
            from backend.models.measurements import output_space

            return output_space.output_space(after, before, prompts, sets, report)

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress
    ) -> tuple[WeightChange, ...]:
        """Return the change of every two-dimensional weight, adapters merged. Raises CheckpointError, DeviceError."""
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
        prompts = self._readable(prompts, host, donor)
        with self.lend(progress, host, donor, label=_pair(host, donor)) as (into, source, report):
            from backend.models.measurements.swaps import run_swaps

            return run_swaps(into, source, plan, prompts, report, watch)

    def steered(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "interventions reviews classes"]:
        """Return label logits under each intervention of the plan. Raises what `readout` raises."""
        prompts = self._readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import steering

            return steering.steered(loaded, plan, prompts, report)

    def side_effects(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> SideEffects:
        """Predict along the texts under each intervention. Raises what `output_space` raises."""
        prompts = self._readable(prompts, checkpoint)
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
        prompts = self._readable(prompts, checkpoint)
        with self.lend(progress, checkpoint) as (loaded, report):
            from backend.models.measurements import generation

            return generation.continuation(loaded, prompts, intervention, tokens, sampling, report)

    def patch(self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Patched:
        """Patch each residual of the donor into the host on the first prompt. Raises what `readout` raises."""
        columns = prompts.seen_by(donor).columns
        prompts = self._readable(prompts, host, donor)
        with self.lend(progress, host, donor, label=_pair(host, donor)) as (into, source, report):
            from backend.models.measurements import patching

            return patching.patch(into, source, prompts, report, donor_columns=columns)

    def starting(self) -> float:
        """Estimate the seconds of importing torch; 0 if it is imported."""
        return 0.0 if "torch" in sys.modules else self._speed.importing()

    def opening(self, checkpoint: PinnedCheckpoint) -> float:
        """Estimate the seconds of loading the weights; 0 if they are in memory."""
        held = self._store is not None and self._store.holds(checkpoint)
        return 0.0 if held else self._speed.opening(checkpoint)

    def reading(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Estimate the seconds of a run from the model's size and the speed of earlier runs on this device."""
        return self._speed.reading(checkpoint, tokens, self.device)


def _labelled(progress: Progress, label: str) -> Progress:
    """Return progress whose sentences start with the label."""
    return lambda fraction, sentence: progress(fraction, f"{label}: {sentence[0].lower()}{sentence[1:]}")


def _pair(host: PinnedCheckpoint, donor: PinnedCheckpoint) -> str:
    """Name both models of a swap or a patch."""
    return f"{donor.label} into {host.label}"
