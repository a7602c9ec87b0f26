"""The port to checkpoints as analyses know it; torch is imported when a model must be opened, and not before."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from jaxtyping import Float32

from backend.caching.cache import Cache
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
from backend.models.catalogue import Catalogue
from backend.models.runtime.device_names import likely_device
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Columns, Prompts, other_ids

_RATES = {"cpu": 2e10, "mps": 1e12, "cuda": 2e13}
_IMPORT_SECONDS = 8.0
_OPENING_BYTES_PER_SECOND = 5e8
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_TELLING_TOKENS = 500
"""A shorter run, such as one typed text, says little about how fast a device is."""


class LocalModels(Catalogue):
    """Checkpoints on this machine (or fetched from the hub to it), opened on LAYERSHIFT_DEVICE."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._store: Any = None
        self._making = threading.Lock()

    @property
    def device(self) -> str:
        """The device that models run on; the likely one while torch is not there to be asked."""
        return likely_device() if self._store is None else str(self._store.device)

    @property
    def store(self) -> Any:
        """The `Store` of opened models; importing torch starts here. Raises DeviceError."""
        with self._making:
            if self._store is None:
                from backend.models.runtime.store import Store

                self._store = Store(self._cache)
            return self._store

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Residuals and label logits at the readout position, float32.

        Raises CheckpointError, DeviceError, PromptError for prompts that the model has no positions or tokens for, and
        whatever `progress` raises, between batches.
        """
        prompts = self._seen(prompts, checkpoint)
        progress(0.0, f"Preparing to open {checkpoint.label}.")
        store = self.store
        from backend.models.measurements.residuals import collect

        def report(fraction: float, sentence: str) -> None:
            progress(fraction, f"{checkpoint.label}: {sentence[0].lower()}{sentence[1:]}")

        with store.borrow(checkpoint, progress) as loaded:
            started = time.perf_counter()
            found = collect(loaded, prompts, report)
            tokens = int(prompts.lengths.sum())
            if tokens >= _TELLING_TOKENS:
                self._remember(checkpoint, tokens, time.perf_counter() - started)
        return found

    def label_logits(
        self,
        residuals: Float32[np.ndarray, "*places width"],
        label_tokens: tuple[int, ...],
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
        progress: Progress,
        normalized: bool = False,
    ) -> Float32[np.ndarray, "*places classes"]:
        """Residuals through the final norm of `norm` (None: none) and the unembedding of `head`. CheckpointError."""
        store = self.store
        from backend.models.measurements import logit_lens

        with ExitStack() as lent:
            loaded = lent.enter_context(store.borrow(head, progress))
            other = None if norm is None else lent.enter_context(store.borrow(norm, progress))
            return logit_lens.label_logits(residuals, Columns(label_tokens, normalized), loaded, other)

    def read_text(self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
        """The first of the prompts at every token and layer. Raises what `readout` raises."""
        prompts = self._seen(prompts, checkpoint)
        store = self.store
        from backend.models.measurements import logit_lens

        with store.borrow(checkpoint, progress) as loaded:
            return logit_lens.read_text(loaded, prompts, top, progress)

    def _seen(self, prompts: Prompts, checkpoint: PinnedCheckpoint, other: PinnedCheckpoint | None = None) -> Prompts:
        """The prompts as the checkpoint sees them, once it is sure that it can read them.

        Raises CheckpointError or PromptError, and UndefinedError where the `other` sees other token ids.
        """
        seen = prompts.seen_by(checkpoint)
        self.check_prompts(checkpoint, seen)
        if other is not None:
            beside = prompts.seen_by(other)
            self.check_prompts(other, beside)
            if (beside.token_ids, beside.token_types) != (seen.token_ids, seen.token_types):
                raise other_ids(checkpoint, other)
        return seen

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress) -> Embedding:
        """The row of every token. Raises UndefinedError without an unembedding, CheckpointError, DeviceError."""
        store = self.store
        from backend.models.measurements.embeddings import embedding

        with store.borrow(checkpoint, progress) as loaded:
            return embedding(loaded, which)

    def contributions(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Contributions:
        """What every part adds to the label logits. Raises what `readout` raises."""
        prompts = self._seen(prompts, checkpoint)
        store = self.store
        from backend.models.measurements import direct_attribution

        with store.borrow(checkpoint, progress) as loaded:
            return direct_attribution.contributions(loaded, prompts, progress)

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "reviews blocks 2 2 width"]:
        """What each block of either adds to the residuals of either. Raises what `readout` raises."""
        prompts = self._seen(prompts, checkpoint, reference)
        store = self.store
        from backend.models.measurements import crossed_blocks

        with store.borrow(reference, progress) as before, store.borrow(checkpoint, progress) as after:
            return crossed_blocks.crossed_updates(after, before, prompts, progress)

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress,
    ) -> OutputSpace:
        """What both predict for every text. Raises what `readout` raises, UndefinedError for no predictions."""
        prompts = self._seen(prompts, checkpoint, reference)
        store = self.store
        from backend.models.measurements import output_space

        def report(fraction: float, sentence: str) -> None:
            progress(fraction, f"{checkpoint.label}: {sentence[0].lower()}{sentence[1:]}")

        with store.borrow(reference, progress) as before, store.borrow(checkpoint, progress) as after:
            return output_space.output_space(after, before, prompts, sets, report)

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress
    ) -> tuple[WeightChange, ...]:
        """The change of every two-dimensional weight, adapters merged. Raises CheckpointError, DeviceError."""
        store = self.store
        from backend.models.measurements import weight_changes

        with store.borrow(reference, progress) as before, store.borrow(checkpoint, progress) as after:
            return weight_changes.weight_changes(after, before, progress)

    def swaps(
        self,
        host: PinnedCheckpoint,
        donor: PinnedCheckpoint,
        plan: tuple[Swap, ...],
        prompts: Prompts,
        progress: Progress,
        watch: Callable[[Swapped], None] = unwatched,
    ) -> Float32[np.ndarray, "swaps reviews classes"]:
        """Label logits of the host with each swap of the plan. Raises what `readout` raises."""
        prompts = self._seen(prompts, host, donor)
        store = self.store
        from backend.models.measurements.swaps import run_swaps

        def report(fraction: float, sentence: str) -> None:
            progress(fraction, f"{donor.label} into {host.label}: {sentence[0].lower()}{sentence[1:]}")

        with store.borrow(host, progress) as into, store.borrow(donor, progress) as source:
            return run_swaps(into, source, plan, prompts, report, watch)

    def steered(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "interventions reviews classes"]:
        """Label logits under each intervention of the plan. Raises what `readout` raises."""
        prompts = self._seen(prompts, checkpoint)
        store = self.store
        from backend.models.measurements import steering

        def report(fraction: float, sentence: str) -> None:
            progress(fraction, f"{checkpoint.label}: {sentence[0].lower()}{sentence[1:]}")

        with store.borrow(checkpoint, progress) as loaded:
            return steering.steered(loaded, plan, prompts, report)

    def side_effects(
        self, checkpoint: PinnedCheckpoint, plan: tuple[Intervention, ...], prompts: Prompts, progress: Progress
    ) -> SideEffects:
        """Predictions along the texts under each intervention. Raises what `output_space` raises."""
        prompts = self._seen(prompts, checkpoint)
        store = self.store
        from backend.models.measurements import side_effects

        def report(fraction: float, sentence: str) -> None:
            progress(fraction, f"{checkpoint.label}: {sentence[0].lower()}{sentence[1:]}")

        with store.borrow(checkpoint, progress) as loaded:
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
        """What the checkpoint writes. Raises what `readout` raises, UndefinedError where it predicts no tokens."""
        prompts = self._seen(prompts, checkpoint)
        store = self.store
        from backend.models.measurements import generation

        with store.borrow(checkpoint, progress) as loaded:
            return generation.continuation(loaded, prompts, intervention, tokens, sampling, progress)

    def patch(self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Patched:
        """The host's answers to the first prompt with one residual of the donor's. Raises what `readout` raises."""
        columns = prompts.seen_by(donor).columns
        prompts = self._seen(prompts, host, donor)
        store = self.store
        from backend.models.measurements import patching

        def report(fraction: float, sentence: str) -> None:
            progress(fraction, f"{donor.label} into {host.label}: {sentence[0].lower()}{sentence[1:]}")

        with store.borrow(host, progress) as into, store.borrow(donor, progress) as source:
            return patching.patch(into, source, prompts, report, donor_columns=columns)

    def seconds(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Expected seconds, from the model's size and how fast earlier runs on this device were."""
        parameters = checkpoint.facts.parameters
        remembered = self._cache.get_json(self._rate_key(checkpoint))
        rate = remembered if isinstance(remembered, float) else _RATES[self.device.partition(":")[0]]
        opening = 0.0 if "torch" in sys.modules else _IMPORT_SECONDS
        if self._store is None or not self._store.holds(checkpoint):
            opening += parameters * _BYTES[checkpoint.dtype] / _OPENING_BYTES_PER_SECOND
        return opening + tokens * parameters / rate

    def _remember(self, checkpoint: PinnedCheckpoint, tokens: int, seconds: float) -> None:
        """Parameters times tokens per second of this run."""
        self._cache.put_json(self._rate_key(checkpoint), checkpoint.facts.parameters * tokens / max(seconds, 1e-6))

    def _rate_key(self, checkpoint: PinnedCheckpoint) -> str:
        """Small models use a device less well, so a rate holds for models of like size: a power of four."""
        size = checkpoint.facts.parameters.bit_length() // 2
        return f"rate/{self.device}/{checkpoint.dtype}/{size}"
