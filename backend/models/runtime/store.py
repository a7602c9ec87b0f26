"""Keep loaded models and lend them to one thread at a time; close the least recently used when memory runs short."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from backend.caching.cache import Cache
from backend.caching.lending import Lendable
from backend.caching.progress import Progress, silent
from backend.caching.stopwatch import apart
from backend.errors import CheckpointError
from backend.models.files.facts import read_facts
from backend.models.files.fingerprint import fingerprint
from backend.models.files.locate import locate
from backend.models.runtime.devices import choose_device, give_back, model_bytes
from backend.models.runtime.load import LoadedModel, open_model
from backend.models.runtime.marks import Marks, marks
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.facts import BODY

Key = tuple[str, str, str | None]


class Store:
    """The loaded models of one device, limited in bytes. Borrowing locks the device, so hooks never interfere."""

    def __init__(self, cache: Cache, device: torch.device | None = None, limit_bytes: int | None = None) -> None:
        self.device = device or choose_device()
        self._cache = cache
        self._limit = limit_bytes
        self._lock = Lendable(self._untouched)
        self._open: OrderedDict[Key, LoadedModel] = OrderedDict()
        self._marks: dict[Key, Marks] = {}
        self._lent: list[Key] = []

    @contextmanager
    def borrow(self, checkpoint: PinnedCheckpoint, progress: Progress = silent) -> Iterator[LoadedModel]:
        """Yield the checkpoint's model, and open it first if needed.

        One thread borrows at a time, and may borrow several models (a host and a donor). While it waits for another
        thread it reports to `progress`, which may raise Cancelled. A parked job lends the device out, and its models
        stay open; a job with hooks on a model is not parked. Raises CheckpointError or DeviceError.
        """
        with self._lock.held(lambda: progress(0.0, f"Waiting for other work on {self.device} to finish.")):
            key = _key(checkpoint)
            self._lent.append(key)
            try:
                yield self._get(key, checkpoint, progress)
            finally:
                self._lent.remove(key)

    def holds(self, checkpoint: PinnedCheckpoint) -> bool:
        """Return whether the checkpoint is loaded now."""
        return _key(checkpoint) in self._open

    def close(self) -> None:
        """Close every model that is not borrowed."""
        with self._lock.held(lambda: None):
            for key in [key for key in self._open if key not in self._lent]:
                del self._open[key]
                del self._marks[key]
            give_back(self.device)

    def _get(self, key: Key, checkpoint: PinnedCheckpoint, progress: Progress) -> LoadedModel:
        if key not in self._open:
            progress(0.0, f"Opening {checkpoint.label}.")
        if key not in self._open:  # a job may have opened it while this one was parked
            size = getattr(torch, checkpoint.dtype).itemsize
            self._make_room(checkpoint.facts.parameters * size, checkpoint.device_map)
            with apart():
                self._open[key] = self._opened(checkpoint)
                self._marks[key] = marks(self._open[key].model)
            self._make_room(0, checkpoint.device_map)
        self._open.move_to_end(key)
        return self._open[key]

    def _untouched(self) -> bool:
        """Return whether every open model is as it was opened, so that another job may run it."""
        return all(marks(loaded.model) == self._marks[key] for key, loaded in list(self._open.items()))

    def _opened(self, checkpoint: PinnedCheckpoint) -> LoadedModel:
        """Load the model, and check the fingerprint before and after, because a training run may replace the files."""
        located = locate(checkpoint.ref)
        adapter = located if located.adapter else None
        body = locate(checkpoint.base) if adapter else located
        self._still(checkpoint)
        architecture = read_facts(body, str(body.folder)).architecture
        without_head = checkpoint.facts.kind == "causal" and not checkpoint.facts.has_head
        loaded = open_model(
            body, adapter, architecture, self.device, checkpoint.dtype, checkpoint.device_map, without_head
        )
        self._still(checkpoint)
        return loaded

    def _still(self, checkpoint: PinnedCheckpoint) -> None:
        located = locate(checkpoint.ref)
        base = fingerprint(locate(checkpoint.base), None, self._cache) if located.adapter else None
        if fingerprint(located, base, self._cache) != checkpoint.fingerprint.removesuffix(BODY):
            raise CheckpointError(f"{checkpoint.ref.place} was replaced since the study was read; reload the study.")

    def _make_room(self, needed: int, device_map: str | None) -> None:
        """Close the least recently used models until `needed` more bytes fit, or all others are borrowed."""
        if self._limit is None:
            self._limit = model_bytes(self.device, spread=device_map is not None)
        closed = False
        for key in [key for key in self._open if key not in self._lent]:
            if sum(model.bytes for model in self._open.values()) + needed <= self._limit:
                break
            del self._open[key]
            del self._marks[key]
            closed = True
        if closed:
            give_back(self.device)


def _key(checkpoint: PinnedCheckpoint) -> Key:
    return (checkpoint.fingerprint, checkpoint.dtype, checkpoint.device_map)
