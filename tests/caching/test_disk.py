"""Bytes on disk: no pickle, no access outside the folder, LRU eviction, repair of damage."""

from __future__ import annotations

import os
import pickle
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.caching.disk import BytesDisk, evict, open_index, read_only_get, seal, unseal
from backend.caching.serialize import ForeignEntry

LARGE = 100_000


class Bomb:
    """An object that creates a file when unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def rows(folder: Path, statement: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def files(folder: Path) -> list[Path]:
    return list(folder.glob("??/??/*.val"))


@given(st.binary(), st.data())
def test_a_seal_breaks_when_a_bit_flips(value: bytes, data: st.DataObject):
    sealed = bytearray(seal(value))
    assert unseal(bytes(sealed)) == value
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ForeignEntry):
        unseal(bytes(sealed))


@pytest.mark.parametrize("size", [0, 1, LARGE])
def test_bytes_come_back_from_the_index_or_a_file(tmp_path: Path, size: int):
    store, aside = open_index(tmp_path)
    assert not aside
    store.set("a/1", b"x" * size)
    assert store.get("a/1") == read_only_get(tmp_path, "a/1") == b"x" * size
    assert len(files(tmp_path)) == (size == LARGE)
    assert store.get("b") is read_only_get(tmp_path, "b") is None


@pytest.mark.parametrize("value", ["text", 1, 1.5, None, [1], bytearray(b"a")])
def test_only_bytes_are_stored(tmp_path: Path, value: Any):
    store, _ = open_index(tmp_path)
    with pytest.raises(TypeError, match="bytes"):
        store.set("a", value)


@pytest.mark.parametrize("key", [b"bytes", 1, None, ("a", 1)])
def test_only_text_is_a_key(tmp_path: Path, key: Any):
    store, _ = open_index(tmp_path)
    for action in (lambda: store.set(key, b"a"), lambda: store.get(key)):
        with pytest.raises(TypeError, match="text"):
            action()


@pytest.mark.parametrize("inline", [True, False], ids=["in the index", "in a file"])
def test_a_planted_pickle_is_never_loaded(tmp_path: Path, inline: bool):
    store, _ = open_index(tmp_path)
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    name = None if inline else "aa/bb/" + "c" * 28 + ".val"
    if name:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bomb)
    rows(
        tmp_path,
        "INSERT INTO Cache (key, raw, mode, filename, value) VALUES ('a', 1, 4, ?, ?)",
        name,
        bomb if inline else None,
    )
    rows(tmp_path, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 'x')", bomb)
    with pytest.raises(ForeignEntry):
        store.get("a")
    with pytest.raises(ForeignEntry):
        read_only_get(tmp_path, "a")
    with pytest.raises(ForeignEntry):
        list(store)
    assert not (tmp_path / "exploded").exists()
    with diskcache.Cache(str(tmp_path)) as ordinary:  # what would have happened
        ordinary.get("a")
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["../outside.val", "/etc/passwd", "aa/bb/../../../outside.val", "x"])
def test_a_planted_file_name_leads_nowhere(tmp_path: Path, name: str):
    folder = tmp_path / "cache"
    outside = tmp_path / "outside.val"
    outside.write_bytes(b"secret")
    store, _ = open_index(folder)
    (folder / "aa" / "bb").mkdir(parents=True)
    rows(folder, "INSERT INTO Cache (key, raw, mode, filename, size) VALUES ('a', 1, 2, ?, 9)", name)
    with pytest.raises(ForeignEntry):
        store.get("a")
    store.delete("a")
    assert outside.read_bytes() == b"secret"
    assert store.get("a") is None


def test_the_least_recently_read_go_first(tmp_path: Path):
    store, _ = open_index(tmp_path)
    for i in range(6):
        store.set(str(i), bytes(LARGE))
        time.sleep(0.002)
    store.get("0")
    evict(store, 4 * LARGE)
    left = [i for i in range(6) if store.get(str(i)) is not None]
    assert left[0] == 0
    assert left == [0, *range(7 - len(left), 6)]
    assert len(left) >= 3
    assert store.volume() <= 4 * LARGE
    assert sum(file.stat().st_size for file in files(tmp_path)) == len(left) * LARGE


def test_small_entries_and_foreign_rows_are_evicted_too(tmp_path: Path):
    store, _ = open_index(tmp_path)
    rows(tmp_path, "INSERT INTO Cache (key, raw, access_time, mode, value) VALUES (x'80', 0, 0, 4, x'80')")
    for i in range(300):
        store.set(str(i), bytes(20_000))
    evict(store, 1_000_000)
    assert store.volume() <= 1_000_000
    assert store.get("299") is not None
    assert rows(tmp_path, "SELECT count(*) FROM Cache WHERE raw = 0") == [(0,)]


def overwrite(folder: Path) -> None:
    (folder / "cache.db").write_bytes(b"not a database at all" * 1000)


def cut(folder: Path) -> None:
    data = (folder / "cache.db").read_bytes()
    (folder / "cache.db").write_bytes(data[: len(data) // 2])


def scribble(folder: Path) -> None:
    data = bytearray((folder / "cache.db").read_bytes())
    data[4096:20480] = os.urandom(16384)
    (folder / "cache.db").write_bytes(data)


def other_tables(folder: Path) -> None:
    (folder / "cache.db").unlink()
    rows(folder, "CREATE TABLE Cache (something)")


def no_columns(folder: Path) -> None:
    rows(folder, "ALTER TABLE Cache DROP COLUMN tag")


def planted_setting(folder: Path) -> None:
    rows(folder, "INSERT INTO Settings VALUES ('disk_surprise', 1)")


@pytest.mark.parametrize("harm", [overwrite, cut, scribble, other_tables, no_columns, planted_setting])
def test_a_damaged_index_is_set_aside(tmp_path: Path, harm: Any):
    store, _ = open_index(tmp_path)
    for i in range(50):
        store.set(str(i), bytes(2_000 if i % 2 else LARGE))
    store.close()
    harm(tmp_path)
    fresh, aside = open_index(tmp_path, deep=True)
    assert aside
    assert (tmp_path / "cache.db.damaged").exists()
    assert not files(tmp_path)
    fresh.set("a", b"again")
    assert fresh.get("a") == b"again"
    fresh.close()
    assert not open_index(tmp_path, deep=True)[1]


def test_an_empty_index_is_a_fresh_one(tmp_path: Path):
    (tmp_path / "cache.db").touch()
    store, aside = open_index(tmp_path)
    assert not aside
    assert store.get("a") is None


def test_what_a_killed_process_left_is_swept(tmp_path: Path):
    store, _ = open_index(tmp_path)
    store.set("kept", bytes(LARGE))
    orphan, young = (tmp_path / "ab" / "cd" / (letter * 28 + ".val") for letter in "ef")
    orphan.parent.mkdir(parents=True)
    for file in (orphan, young):
        file.write_bytes(bytes(LARGE))
    os.utime(orphan, (0, 0))
    store.close()
    open_index(tmp_path)[0].close()
    assert orphan.exists(), "without a sign of a killed process nothing is looked through"
    (tmp_path / "locks" / "dead.lock").touch()
    store, _ = open_index(tmp_path)
    assert not orphan.exists()
    assert young.exists()
    assert not (tmp_path / "locks" / "dead.lock").exists()
    assert store.get("kept") == bytes(LARGE)


def test_a_file_that_cannot_be_written_whole_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    disk = BytesDisk(str(tmp_path), min_file_size=10)
    with pytest.raises(OSError, match="No space left"):
        disk.store(bytes(100), read=False)
    assert not files(tmp_path)
