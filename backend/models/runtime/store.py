"""Keep loaded models and lend them to one thread at a time; close the least recently used when memory runs short."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

from backend.caching.cache import Cache
from backend.caching.lending import Lendable
from backend.caching.progress import Progress, silent
from backend.caching.stopwatch import apart
from backend.caching.turns import steady
from backend.errors import CheckpointError, DeviceError
from backend.models.files.facts import read_facts
from backend.models.files.fingerprint import fingerprint
from backend.models.files.locate import locate
from backend.models.runtime.calls import is_offloaded
from backend.models.runtime.devices import (
    MODEL_BYTES_VARIABLE,
    choose_device,
    free_bytes,
    give_back,
    model_bytes,
    weight_room,
)
from backend.models.runtime.load import LoadedModel, open_model
from backend.models.runtime.marks import Marks, marks
from backend.models.runtime.memory_plan import WEIGHTS_SHARE, Place, places
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.facts import BODY

Key = tuple[str, str, str | None]
_KNOWN_SECONDS = 0.5
"""Time in which remembered digests and small files are compared."""


class Store:
    """The loaded models of one device, limited in bytes. Borrowing locks the device, so hooks never interfere."""

    def __init__(self, cache: Cache, device: torch.device | None = None, limit_bytes: int | None = None) -> None:
        self.device = device or choose_device()
        self._cache = cache
        self._limit = self._given = limit_bytes
        self._lock = Lendable(self._untouched)
        self._open: OrderedDict[Key, LoadedModel] = OrderedDict()
        self._marks: dict[Key, Marks] = {}
        self._places: dict[Key, str] = {}
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
                yield (loaded := self._get(key, checkpoint, progress))
                if is_offloaded(loaded):
                    self._still(checkpoint)  # its files were read while it ran
            finally:
                self._lent.remove(key)

    def holds(self, checkpoint: PinnedCheckpoint) -> bool:
        """Return whether the checkpoint is loaded now."""
        return _key(checkpoint) in self._open

    def loaded(self) -> tuple[tuple[str, int], ...]:
        """Return the location of every loaded model and its bytes, the least recently used first."""
        return tuple((self._places.get(key, key[0]), model.bytes) for key, model in list(self._open.items()))

    def close(self) -> None:
        """Close every model that is not borrowed."""
        with self._lock.held(lambda: None):
            for key in [key for key in self._open if key not in self._lent]:
                self._close(key)
            give_back()

    def _get(self, key: Key, checkpoint: PinnedCheckpoint, progress: Progress) -> LoadedModel:
        if key not in self._open:
            progress(0.0, f"Opening {checkpoint.label}.")
        if key not in self._open:  # another job may have opened it while this one was parked
            needed = checkpoint.facts.memory(checkpoint.dtype)
            self._make_room(needed, checkpoint.device_map)
            place = self._place(checkpoint, needed)
            if not place.whole:
                with steady():
                    progress(0.0, f"Opening {checkpoint.label}: {place.sentence}")
            with apart():
                self._open[key] = self._opened(checkpoint, place)
                self._marks[key], self._places[key] = marks(self._open[key].model), checkpoint.ref.place
            self._make_room(0, checkpoint.device_map)
        self._open.move_to_end(key)
        return self._open[key]

    def _close(self, key: Key) -> None:
        del self._open[key], self._marks[key], self._places[key]

    def _untouched(self) -> bool:
        """Return whether every open model is as it was opened, so that another job may run it."""
        return all(marks(loaded.model) == self._marks[key] for key, loaded in list(self._open.items()))

    def _place(self, checkpoint: PinnedCheckpoint, needed: int) -> Place:
        """Plan how much of the model is in memory beside the models that are open. Raises DeviceError."""
        if checkpoint.device_map is not None:
            return Place(needed, needed)  # transformers places it itself
        (place,) = places([needed], weight_room(self.device, self._held(), self._given))
        is_adapter = locate(checkpoint.ref).adapter
        if not place.whole and (self.device.type == "mps" or is_adapter):
            raise DeviceError(
                f"{checkpoint.label}: {place.sentence.partition(',')[0]}, and "
                f"{'an adapter' if is_adapter else 'a model on mps'} cannot be read block by block; close other "
                f"programs, raise {MODEL_BYTES_VARIABLE}, or merge the adapter into a full checkpoint."
            )
        return place

    def _held(self) -> int:
        """Return the bytes of the weights that are open."""
        return sum(model.bytes for model in self._open.values())

    def _opened(self, checkpoint: PinnedCheckpoint, place: Place) -> LoadedModel:
        """Load the model, and check the fingerprint before and after, because a training run may replace the files.

        Files whose digest is not known yet are read for it while the model loads.
        """
        located = locate(checkpoint.ref)
        adapter = located if located.adapter else None
        body = locate(checkpoint.base) if adapter else located
        architecture = read_facts(body, str(body.folder)).architecture
        without_head = checkpoint.facts.kind == "causal" and not checkpoint.facts.has_head
        with ThreadPoolExecutor(1, "fingerprint") as pool:
            still = pool.submit(self._still, checkpoint)
            if wait([still], _KNOWN_SECONDS).done:
                still.result()
            try:
                loaded = open_model(
                    body,
                    adapter,
                    architecture,
                    self.device,
                    checkpoint.dtype,
                    checkpoint.device_map,
                    without_head,
                    None if place.whole else self._bounds(place),
                )
            except CheckpointError:
                still.result()  # a file that was replaced explains why it cannot be opened
                raise
            still.result()
        self._still(checkpoint)
        return loaded

    def _bounds(self, place: Place) -> dict[int | str, int]:
        """Return how many bytes of weights each memory may hold; a GPU is helped by the host before the files are."""
        if self.device.type == "cpu":
            return {"cpu": place.resident}
        host = int(free_bytes(torch.device("cpu")) * WEIGHTS_SHARE)
        return {self.device.index or 0: place.resident, "cpu": host}

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
            if self._held() + needed <= self._limit:
                break
            self._close(key)
            closed = True
        if closed:
            give_back()


def _key(checkpoint: PinnedCheckpoint) -> Key:
    return (checkpoint.fingerprint, checkpoint.dtype, checkpoint.device_map)
