"""The fingerprint follows content: not the place, not the clock."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models.files import fingerprint as module
from backend.models.files.fingerprint import digest, digests, fingerprint
from backend.models.files.locate import locate
from backend.models.files.settled import SETTLED_NS
from tests.models.random_models import random_model, ref, save


def of(folder: Path, cache: Cache) -> str:
    return fingerprint(locate(ref(folder)), None, cache)


def age(file: Path, seconds: float = 60.0) -> None:
    """As if the file had been written some time ago."""
    then = time.time() - seconds
    os.utime(file, (then, then))


def test_the_place_does_not_count_and_the_content_does(gpt2: Path, tmp_path: Path, cache: Cache):
    first = of(gpt2, cache)
    assert len(first) == 64
    assert of(Path(shutil.copytree(gpt2, tmp_path / "copy")), cache) == first
    (gpt2 / "training_args.bin").write_bytes(b"resume state")
    assert of(gpt2, cache) == first
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        (gpt2 / name).write_text((gpt2 / name).read_text() + "\n")
        assert of(gpt2, cache) != first
        first = of(gpt2, cache)


def test_retraining_into_the_same_path_changes_it(gpt2: Path, cache: Cache):
    """At once, with the same size, and even where the clock of the file system did not move."""
    weights, now = gpt2 / "model.safetensors", time.time() + 60
    seen = set()
    for seed in range(4):
        save(random_model("gpt2", seed), gpt2)
        os.utime(weights, (now, now))
        seen.add(of(gpt2, cache))
    assert len(seen) == 4


def test_a_settled_file_is_read_once(gpt2: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    weights = gpt2 / "model.safetensors"
    age(weights)
    first = digest(weights, cache)

    def unread(file: Path) -> str:
        raise RuntimeError(f"{file} is read again")

    monkeypatch.setattr(module, "_read", unread)
    assert digest(weights, cache) == first
    age(weights, 30)
    with pytest.raises(RuntimeError, match="read again"):
        digest(weights, cache)


def test_a_fresh_file_is_not_remembered(gpt2: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    weights, reads = gpt2 / "model.safetensors", []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda file: reads.append(file) or read(file))
    age(weights, SETTLED_NS / 4e9)
    digest(weights, cache)
    digest(weights, cache)
    assert len(reads) == 2


def test_a_file_that_is_being_written_is_an_error(gpt2: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    weights = gpt2 / "model.safetensors"
    monkeypatch.setattr(module, "_read", lambda file: str(file.write_bytes(b"half")))
    with pytest.raises(CheckpointError, match="is being written; wait until"):
        digest(weights, cache)


def test_a_truncated_file_is_an_error(gpt2: Path, cache: Cache):
    weights = gpt2 / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is truncated"):
        of(gpt2, cache)


def test_an_adapter_counts_its_base(gpt2: Path, cache: Cache):
    located = replace(locate(ref(gpt2)), adapter=True)
    assert fingerprint(located, "a", cache) != fingerprint(located, "b", cache)


def test_on_the_hub_the_commit_and_the_folder_count(gpt2: Path, tmp_path: Path, cache: Cache):
    found = set()
    for commit in ("1" * 40, "2" * 40):
        for name in ("epoch-1", "epoch-2"):
            place = Path(shutil.copytree(gpt2, tmp_path / "snapshots" / commit / name))
            found.add(fingerprint(replace(locate(ref(place)), commit=commit), None, cache))
    assert len(found) == 4


def test_threads_read_a_file_once_and_several_files_at_once(gpt2: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    files = [gpt2 / "model.safetensors", gpt2 / "config.json", gpt2 / "tokenizer.json"]
    for file in files:
        age(file)
    reads, meeting, read = [], threading.Barrier(3), module._read

    def slow(file: Path) -> str:
        reads.append(file)
        meeting.wait(10)  # breaks unless all three are being read at once
        return read(file)

    monkeypatch.setattr(module, "_read", slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: digests(files, cache), range(4)))
    assert sorted(reads) == sorted(files)
    assert found == [[read(file) for file in files]] * 4


def test_the_name_of_a_large_file_in_the_hubs_cache_is_its_digest(
    gpt2: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    repository = tmp_path / "models--a--b"
    snapshot, blobs = repository / "snapshots" / ("1" * 40), repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    plain = digest(gpt2 / "model.safetensors", cache)
    for name, blob in (("model.safetensors", plain), ("config.json", "a" * 40)):
        shutil.copy(gpt2 / name, blobs / blob)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    reads, read = [], module._read
    monkeypatch.setattr(module, "_read", lambda file: reads.append(file.name) or read(file))
    assert digest(snapshot / "model.safetensors", cache) == plain
    assert digest(snapshot / "config.json", cache) == read(gpt2 / "config.json")
    assert reads == ["config.json"], "a small file is named by git, which hashes otherwise"
    elsewhere = tmp_path / "blobs" / ("b" * 64)
    elsewhere.parent.mkdir()
    shutil.copy(gpt2 / "model.safetensors", elsewhere)
    (tmp_path / "link").symlink_to(elsewhere)
    assert digest(tmp_path / "link", cache) == plain, "any other link is followed and read"
