"""Lend loaded models to measurements, one thread at a time, and remember how fast they ran.

Torch is imported only when a model must be opened.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from backend.caching.cache import Cache
from backend.caching.progress import Progress
from backend.models.catalogue import Catalogue
from backend.models.runtime.device_names import likely_device
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts, other_ids

_RATES = {"cpu": 2e10, "mps": 1e12, "cuda": 2e13}
_IMPORT_SECONDS = 8.0
_OPENING_BYTES_PER_SECOND = 5e8
_ENOUGH_TOKENS = 500
"""Tokens of a run from which its speed is remembered; shorter ones, such as one typed text, estimate it badly."""


class Lender(Catalogue):
    """Opens the checkpoints that the catalogue describes, on LAYERSHIFT_DEVICE."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._store: Any = None
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
                from backend.models.runtime.store import Store

                self._store = Store(self._cache)
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

    def readable(
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

    def seconds(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Estimate the seconds of a run from the model's size and the speed of earlier runs on this device."""
        parameters = checkpoint.facts.parameters
        remembered = self._cache.get_json(self._rate_key(checkpoint))
        rate = remembered if isinstance(remembered, float) else _RATES[self.device.partition(":")[0]]
        opening = 0.0 if "torch" in sys.modules else _IMPORT_SECONDS
        if self._store is None or not self._store.holds(checkpoint):
            opening += checkpoint.facts.memory(checkpoint.dtype) / _OPENING_BYTES_PER_SECOND
        return opening + tokens * parameters / rate

    def remember(self, checkpoint: PinnedCheckpoint, tokens: int, seconds: float) -> None:
        """Store parameters times tokens per second of this run, unless it was too short."""
        if tokens < _ENOUGH_TOKENS:
            return
        self._cache.put_json(self._rate_key(checkpoint), checkpoint.facts.parameters * tokens / max(seconds, 1e-6))

    def _rate_key(self, checkpoint: PinnedCheckpoint) -> str:
        """Return the key of a rate: one for each fourfold range of sizes, because small models use a device less."""
        size = checkpoint.facts.parameters.bit_length() // 2
        return f"rate/{self.device}/{checkpoint.dtype}/{size}"


def _labelled(progress: Progress, label: str) -> Progress:
    """Return progress whose sentences start with the label."""
    return lambda fraction, sentence: progress(fraction, f"{label}: {sentence[0].lower()}{sentence[1:]}")
