"""Lend loaded models to measurements, one thread at a time, and remember how fast they ran.

Torch is imported only when a model must be opened.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from backend.caching.cache import Cache
from backend.caching.progress import Progress
from backend.caching.stopwatch import apart
from backend.models.catalogue import Catalogue
from backend.models.importing import importing
from backend.models.runtime.device_names import likely_device
from backend.models.speed import Speed
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts, other_ids

_ENOUGH_TOKENS = 500
"""Tokens of a run from which its speed is remembered; shorter ones, such as one typed text, estimate it badly."""


class Lender(Catalogue):
    """Opens the checkpoints that the catalogue describes, on LAYERSHIFT_DEVICE."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._store: Any = None
        self._speed = Speed(cache)
        self._making = threading.Lock()

    @property
    def device(self) -> str:
        """The device that models run on; the likely one until torch is imported."""
        return likely_device() if self._store is None else str(self._store.device)

    def loaded(self) -> tuple[tuple[str, int], ...]:
        """Return the location of every model in memory, and its bytes."""
        return () if self._store is None else self._store.loaded()

    @property
    def store(self) -> Any:
        """The `Store` of loaded models; importing torch starts here. Raises DeviceError."""
        with self._making:
            if self._store is None:
                fresh, started = "torch" not in sys.modules, time.perf_counter()
                with apart(), importing():
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

    def remember(self, checkpoint: PinnedCheckpoint, tokens: int, seconds: float) -> None:
        """Remember the speed of a run, unless it was too short."""
        if tokens >= _ENOUGH_TOKENS:
            self._speed.read(checkpoint, tokens, self.device, seconds)


def _labelled(progress: Progress, label: str) -> Progress:
    """Return progress whose sentences start with the label."""
    return lambda fraction, sentence: progress(fraction, f"{label}: {sentence[0].lower()}{sentence[1:]}")
