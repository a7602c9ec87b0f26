"""The cache of one folder: storage, limits, repair, and use of an unusable folder."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.caching import cache as module
from backend.caching.cache import Cache
from backend.caching.disk import BytesDisk
from backend.caching.memory import Memory
from backend.errors import Cancelled

LARGE = 200_000


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may enter, outside the private folders of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may write anywhere, so the test runs as nobody."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def lock_up(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_bytes_are_kept_across_caches(tmp_path: Path):
    for value in (b"", b"small", bytes(LARGE)):
        assert Cache(tmp_path / "new" / "folder").put("a/1.1/b", value)
        assert Cache(tmp_path / "new" / "folder").get("a/1.1/b") == value
    cache = Cache(tmp_path / "new" / "folder")
    assert cache.get("other") is None
    cache.drop("a/1.1/b")
    cache.drop("other")
    assert cache.get("a/1.1/b") is cache.note is None


def test_facts_are_kept_across_caches(tmp_path: Path):
    cache = Cache(tmp_path)
    for value in ({"a": [1, 2.5, None, "é"]}, 0, False, [], "text"):
        cache.put_json("fact", value)
        assert cache.get_json("fact") == Cache(tmp_path).get_json("fact") == value
    assert cache.get_json("other") is None
    cache.put("not json", b"{")
    assert cache.get_json("not json") is cache.get("not json") is None


def test_a_fact_is_a_copy(tmp_path: Path):
    cache = Cache(tmp_path)
    cache.put_json("fact", [1])
    (cache.get_json("fact") or []).append(2)
    assert cache.get_json("fact") == [1]


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_damaged_entry_is_dropped(tmp_path: Path, size: int):
    cache = Cache(tmp_path)
    cache.put("a", bytes(size))
    if size == LARGE:
        next(tmp_path.glob("??/??/*.val")).write_bytes(bytes(LARGE))
    else:
        with sqlite3.connect(tmp_path / "cache.db") as connection:
            connection.execute("UPDATE Cache SET value = x'00'")
        connection.close()
    assert cache.get("a") is None
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        assert connection.execute("SELECT count(*) FROM Cache").fetchone() == (0,)
    connection.close()
    assert cache.put("a", b"again")
    assert cache.get("a") == b"again"


def test_a_value_file_that_is_gone_is_a_miss(tmp_path: Path):
    cache = Cache(tmp_path)
    cache.put("a", bytes(LARGE))
    next(tmp_path.glob("??/??/*.val")).unlink()
    assert cache.get("a") is None


def test_the_limit_holds_and_the_least_recently_read_go(tmp_path: Path):
    cache = Cache(tmp_path, 5 * LARGE)
    for i in range(10):
        assert cache.put(str(i), bytes(LARGE))
        assert cache.get("0") is not None
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.val")) <= 5 * LARGE
    assert cache.get("9") is not None
    assert cache.get("1") is None
    assert cache.note is None


def test_a_value_above_the_limit_is_not_kept(tmp_path: Path):
    cache = Cache(tmp_path, LARGE)
    assert not cache.put("a", bytes(LARGE))
    assert cache.note is not None
    assert "LAYERSHIFT_CACHE_BYTES" in cache.note
    assert cache.put("b", b"small")
    assert cache.note is None


def test_a_read_only_folder_is_read_and_nothing_is_kept(open_folder: Path, unprivileged: None):
    folder = open_folder / "cache"
    first = Cache(folder)
    for key, size in (("small", 10), ("large", LARGE)):
        first.put(key, bytes(size))
    first._store.close()  # type: ignore[union-attr]
    lock_up(folder)
    cache = Cache(folder)
    assert cache.note is not None
    assert "read-only" in cache.note
    assert str(folder) in cache.note
    assert cache.get("small") == bytes(10)
    assert cache.get("large") == bytes(LARGE)
    assert cache.get("none") is None
    assert not cache.put("new", b"a")
    cache.put_json("fact", 1)
    assert cache.get_json("fact") == 1
    cache.drop("small")
    with cache.lock("key"):
        pass


def test_a_folder_that_turns_read_only(open_folder: Path, unprivileged: None):
    cache = Cache(open_folder / "cache")
    cache.put("a", bytes(LARGE))
    lock_up(open_folder / "cache")
    assert not cache.put("b", bytes(LARGE))
    assert cache.note is not None
    assert "read-only" in cache.note
    assert cache.get("a") == bytes(LARGE)
    with cache.lock("key"):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.note is not None
    assert "cannot be used" in cache.note
    assert not cache.put("a", b"a")
    assert cache.get("a") is None
    cache.remember("a", "result", 6, kept=False)
    assert cache.recall("a") == "result"


def test_a_folder_that_becomes_usable_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache")
    (tmp_path / "file").unlink()
    assert not cache.put("a", b"a")
    monkeypatch.setattr(module, "REOPEN_AFTER", 0.0)
    assert cache.put("a", b"a")
    assert cache.note is None


def test_a_disk_that_is_full_and_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = Cache(tmp_path)
    cache.put("before", bytes(LARGE))

    def store(*_arguments: object, **_words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(BytesDisk, "store", store)
        assert not cache.put("a", bytes(LARGE))
        assert cache.note is not None
        assert "is full" in cache.note
        assert cache.get("before") == bytes(LARGE)
    assert cache.put("a", bytes(LARGE))
    assert cache.note is None


def test_files_that_may_not_grow(tmp_path: Path):
    cache = Cache(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE, hard))
    try:
        assert not cache.put("a", bytes(2 * LARGE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cache.note is not None
    assert "is full" in cache.note
    assert not list(tmp_path.rglob("*.val"))


def test_an_index_that_is_full(tmp_path: Path):
    cache = Cache(tmp_path)
    cache.put("before", b"a")
    connection = cache._store._con  # type: ignore[union-attr]
    connection.execute("PRAGMA max_page_count = 1")
    assert not all(cache.put(str(i), bytes(30_000)) for i in range(3))
    assert cache.note is not None
    assert "is full" in cache.note
    assert cache.get("before") == b"a"
    assert cache.put("after", b"a"), "the next connection has no such bound"


def test_a_damaged_index_is_noted_at_the_start(tmp_path: Path):
    Cache(tmp_path).put("a", b"a")
    (tmp_path / "cache.db").write_bytes(b"garbage" * 1000)
    cache = Cache(tmp_path)
    assert cache.note is not None
    assert "cache.db.damaged" in cache.note
    assert cache.get("a") is None
    assert cache.put("a", b"b")
    assert cache.get("a") == b"b"
    assert Cache(tmp_path).note is None


def test_damage_while_running_is_mended(tmp_path: Path):
    cache = Cache(tmp_path)
    cache.put("a", b"a")
    cache._store.close()  # type: ignore[union-attr]
    with (tmp_path / "cache.db").open("r+b") as index:
        index.seek(4096)
        index.write(os.urandom(1 << 14))
    assert cache.get("a") is None
    assert cache.put("a", b"b")
    assert cache.get("a") == b"b"
    assert cache.note is not None
    assert "renamed to cache.db.damaged" in cache.note


def test_memory_forgets_the_least_recently_used():
    memory = Memory(10)
    for key in "abc":
        memory.put(key, key.upper(), 4)
        memory.get("a")
    assert [memory.get(key) for key in "abc"] == ["A", None, "C"]
    memory.put("d", "D", 100)
    assert [memory.get(key) for key in "acd"] == [None, None, "D"]
    memory.put("d", "D2", 3)
    memory.put("e", None, 3)
    memory.drop("e")
    memory.drop("e")
    assert memory.get("d") == "D2"


def test_a_lock_is_held_by_one_thread_at_a_time(tmp_path: Path):
    cache, inside, most = Cache(tmp_path), [], []

    def enter() -> None:
        with cache.lock("key"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    assert not cache._flights
    assert [file.name for file in (tmp_path / "locks").iterdir()] in ([], ["open.lock"])


def test_two_caches_on_one_folder_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE", 0.02)
    one, other = Cache(tmp_path), Cache(tmp_path)
    sentences: list[str] = []

    def waiting(fraction: float, sentence: str) -> None:
        sentences.append(sentence)
        raise Cancelled("Enough.")

    with one.lock("key"):
        with pytest.raises(Cancelled), other.lock("key", waiting):
            pytest.fail("both hold the lock")
        with other.lock("another key"):
            pass
    assert "another server" in sentences[0]
    with other.lock("key"):
        pass


def test_who_waits_hears_how_far_it_is_and_may_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE", 0.02)
    cache, left = Cache(tmp_path), []

    def waiting(fraction: float, sentence: str) -> None:
        left.append((fraction, sentence))
        raise Cancelled("Enough.")

    def wait() -> None:
        with pytest.raises(Cancelled), cache.lock("key", waiting):
            pytest.fail("both hold the lock")

    with cache.lock("key") as flight:
        flight.reporting(lambda fraction, sentence: None)(0.25, "A quarter.")
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert left == [(0.25, "A quarter.")]


def test_a_computation_that_asks_for_itself_is_told(tmp_path: Path):
    cache = Cache(tmp_path)
    with cache.lock("key"):
        with pytest.raises(RuntimeError, match="its own result"), cache.lock("key"):
            pass
        with cache.lock("part"):
            pass
    with cache.lock("key"):
        pass
