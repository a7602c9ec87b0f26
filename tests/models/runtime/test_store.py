"""Models are lent one borrower at a time and closed, least recently used first, when they take too much."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from backend.caching.cache import Cache
from backend.caching.progress import silent
from backend.caching.serialize import encode
from backend.errors import Cancelled, CheckpointError
from backend.models.files import fingerprint
from backend.models.local import LocalModels
from backend.models.runtime import store as module
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.store import Store
from backend.study.checkpoint import PinnedCheckpoint
from tests.device import DEVICE
from tests.models.random_models import Pin, make_prompts, random_model, save


@pytest.fixture
def three(tmp_path: Path, pin: Pin) -> list[PinnedCheckpoint]:
    return [pin(save(random_model("gpt2", seed), tmp_path / str(seed)), label=str(seed)) for seed in range(3)]


def size(cache: Cache, checkpoint: PinnedCheckpoint) -> int:
    with Store(cache).borrow(checkpoint) as loaded:
        return loaded.bytes


def test_a_model_is_opened_once(cache: Cache, three: list[PinnedCheckpoint]):
    store, said = Store(cache), []
    assert not store.holds(three[0])
    with store.borrow(three[0], lambda _, sentence: said.append(sentence)) as first:
        pass
    with store.borrow(three[0], lambda _, sentence: said.append(sentence)) as second:
        assert second is first
    assert said == ["Opening 0."]
    assert store.holds(three[0])


def test_the_least_recently_used_is_closed(cache: Cache, three: list[PinnedCheckpoint]):
    a, b, c = three
    store = Store(cache, limit_bytes=int(2.5 * size(cache, a)))
    models = []
    for one in (a, b, a, c):
        with store.borrow(one) as loaded:
            models.append(weakref.ref(loaded.model))
    del loaded
    gc.collect()
    assert [store.holds(one) for one in three] == [True, False, True]
    assert [model() is None for model in models] == [False, True, False, False]


def test_what_is_lent_stays(cache: Cache, three: list[PinnedCheckpoint]):
    host, donor, other = three
    store = Store(cache, limit_bytes=1)
    with store.borrow(host) as first, store.borrow(donor) as second:
        assert first is not second
        assert store.holds(host)
        with store.borrow(host) as again:
            assert again is first
    with store.borrow(other):
        assert [store.holds(one) for one in three] == [False, False, True]
    store.close()
    assert not store.holds(other)


def test_dtypes_do_not_collide(cache: Cache, gpt2: Path, pin: Pin):
    store = Store(cache)
    with store.borrow(pin(gpt2)) as full, store.borrow(pin(gpt2, dtype="bfloat16")) as half:
        assert full.bytes > 1.5 * half.bytes


def test_one_borrower_at_a_time_and_a_waiting_one_can_leave(cache: Cache, three: list[PinnedCheckpoint]):
    store, heard, ended = Store(cache), [], []

    def impatient(_fraction: float, sentence: str) -> None:
        heard.append(sentence)
        raise Cancelled("no longer wanted")

    def wait() -> None:
        try:
            with store.borrow(three[1], impatient):
                ended.append("borrowed")
        except Cancelled:
            ended.append("cancelled")

    with store.borrow(three[0]):
        other = threading.Thread(target=wait)
        other.start()
        other.join(30)
    assert heard == [f"Waiting for other work on {DEVICE} to finish."]
    assert ended == ["cancelled"]
    with store.borrow(three[1]):
        pass


def test_ten_threads_share_one_store(cache: Cache, three: list[PinnedCheckpoint]):
    store, inside, most = Store(cache, limit_bytes=1), [], []

    def work(i: int) -> None:
        with store.borrow(three[i % 3], silent) as loaded:
            inside.append(i)
            most.append((len(inside), loaded.model.config.n_layer))
            inside.remove(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert most == [(1, 3)] * 10


def test_weights_that_were_replaced_are_not_opened(cache: Cache, gpt2: Path, pin: Pin):
    pinned, store = pin(gpt2), Store(cache)
    save(random_model("gpt2", seed=5), gpt2)
    with pytest.raises(CheckpointError, match="was replaced since the study was read"), store.borrow(pinned):
        pass
    with store.borrow(pin(gpt2)):
        assert not store.holds(pinned)


def overwrite(folder: Path, seed: int) -> None:
    """Other weights in the same file, of the same size and with the same time."""
    weights = folder / "model.safetensors"
    other, stat = save(random_model("gpt2", seed), folder.parent / f"seed-{seed}"), weights.stat()
    weights.write_bytes((other / "model.safetensors").read_bytes())
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_checkpoint_overwritten_while_it_is_open(cache: Cache, gpt2: Path, pin: Pin, tmp_path: Path):
    """The open model has the numbers of its fingerprint, and the study read again those of the new weights."""

    def numbers(models: LocalModels, pinned: PinnedCheckpoint) -> bytes:
        return encode(models.readout(pinned, make_prompts([5, 6, 7]), silent))

    os.utime(gpt2 / "model.safetensors", (1e9, 1e9))  # settled: its digest is remembered
    models, before = LocalModels(cache), pin(gpt2)
    first = numbers(models, before)
    overwrite(gpt2, 7)
    assert numbers(models, before) == first
    after = pin(gpt2)
    assert after.fingerprint != before.fingerprint
    undisturbed = LocalModels(Cache(tmp_path / "other"))
    assert numbers(models, after) == numbers(undisturbed, after) != first
    with pytest.raises(CheckpointError, match="was replaced since the study was read"):
        numbers(undisturbed, before)


def test_a_failure_leaves_the_store_usable(cache: Cache, three: list[PinnedCheckpoint]):
    store = Store(cache)
    with pytest.raises(ZeroDivisionError), store.borrow(three[0]):
        raise ZeroDivisionError
    finished = threading.Thread(target=store.close)
    finished.start()
    finished.join(30)
    assert not finished.is_alive()
    assert not store.holds(three[0])


def test_a_file_is_read_for_its_digest_while_the_model_loads(
    cache: Cache, gpt2: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
):
    pinned, store, events = pin(gpt2), Store(cache), []
    loading, read, open_model = threading.Event(), fingerprint._read, module.open_model

    def slow(file: Path) -> str:
        if file.suffix == ".safetensors":
            events.append(loading.wait(30))
        return read(file)

    def opened(*given: Any) -> LoadedModel:
        loading.set()
        return open_model(*given)

    monkeypatch.setattr(fingerprint, "_read", slow)
    monkeypatch.setattr(fingerprint, "_known", lambda file, cache: None)
    monkeypatch.setattr(module, "open_model", opened)
    with store.borrow(pinned):
        assert events[0] is True, "it waits for the model to start loading"


def test_files_replaced_while_they_cannot_be_opened_are_named_as_replaced(
    cache: Cache, gpt2: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
):
    pinned, store, loading = pin(gpt2), Store(cache), threading.Event()

    def fails(*_: object) -> None:
        loading.set()
        raise CheckpointError("cannot be opened")

    def still(_checkpoint: PinnedCheckpoint) -> None:
        loading.wait(30)
        raise CheckpointError("was replaced")

    monkeypatch.setattr(module, "open_model", fails)
    monkeypatch.setattr(store, "_still", still)
    with pytest.raises(CheckpointError, match="was replaced"), store.borrow(pinned):
        pass
