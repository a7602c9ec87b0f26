"""Faults of the cache's disk and of its servers: nothing is lost but work in flight, and the next run is right."""

from __future__ import annotations

import errno
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.caching.serialize import encode
from tests.caching.large_results import COUNT, Query, multiples
from tests.second_server import Desk

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bomb:
    """An object that creates a file when unpickled."""

    file: Path

    def __reduce__(self):
        return (Path.touch, (self.file,))


def undisturbed(number: int) -> bytes:
    """The bytes of a result that was computed without a cache."""
    return encode(multiples.fn(Query(number), Desk(Cache(Path("/proc/none")))))


def all_right(folder: Path, least: int = 0) -> None:
    """Every entry that can be read is right, at least so many are there, and what is lacking is computed right."""
    cache = Cache(folder)
    kept = dict(cache.entries())
    assert len(kept) >= least
    for number in range(COUNT):
        assert kept.get(multiples.key(Query(number)), undisturbed(number)) == undisturbed(number)
        assert encode(multiples(Query(number), Desk(cache))) == undisturbed(number)
    assert cache.note is None or "was damaged" in cache.note
    assert len(dict(Cache(folder).entries())) == COUNT


def server(folder: Path, how: str = "") -> subprocess.Popen[str]:
    program = f"from tests.caching.large_results import main; main({str(folder)!r}, {how!r})"
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def filled(folder: Path) -> None:
    """A cache that an undisturbed server filled."""
    one = server(folder)
    one.communicate(timeout=60)
    assert one.returncode == 0


@pytest.mark.parametrize("how", ["half a file", "a file that the index lacks"])
def test_a_server_killed_in_the_middle_of_a_write(tmp_path: Path, how: str):
    killed = server(tmp_path, how)
    out, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    all_right(tmp_path, least=len(out.split()))


def test_servers_killed_at_any_moment(tmp_path: Path):
    chance = random.Random(0)
    for turn in range(4):
        killed, beside = server(tmp_path / str(turn)), server(tmp_path / str(turn))
        assert killed.stdout is not None
        killed.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
        beside.communicate(timeout=60)
        assert beside.returncode == 0, "the other server goes on"
        all_right(tmp_path / str(turn), least=COUNT)


def cut(folder: Path, file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(folder: Path, file: Path) -> None:
    file.write_bytes(b"")


def noise(folder: Path, file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(file.stat().st_size))


def pickled(folder: Path, file: Path) -> None:
    file.write_bytes(pickle.dumps(Bomb(folder / "exploded")))


def gone(folder: Path, file: Path) -> None:
    file.unlink()


HARMS = [cut, empty, noise, pickled, gone]


@pytest.mark.parametrize("harm", HARMS)
def test_value_files_that_are_damaged(tmp_path: Path, harm: Callable[[Path, Path], None]):
    filled(tmp_path)
    files = sorted(tmp_path.glob("??/??/*.val"))
    for file in files[::3]:
        harm(tmp_path, file)
    all_right(tmp_path, least=COUNT - len(files[::3]))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("harm", HARMS)
def test_an_index_that_is_damaged(tmp_path: Path, harm: Callable[[Path, Path], None]):
    filled(tmp_path)
    for log in tmp_path.glob("cache.db-*"):
        log.unlink()
    harm(tmp_path, tmp_path / "cache.db")
    all_right(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_rows_that_hold_pickles(tmp_path: Path):
    filled(tmp_path)
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as connection, connection:
        connection.execute("UPDATE Cache SET mode = 4, value = ?, filename = NULL WHERE rowid % 3 = 0", (bomb,))
        connection.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 4, ?)", (bomb, bomb))
    cache = Cache(tmp_path)
    for number in range(COUNT):
        assert encode(multiples(Query(number), Desk(cache))) == undisturbed(number)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_is_full_or_broken_for_a_while(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch):
    desk = Desk(Cache(tmp_path))
    multiples(Query(1), desk)

    def refuse(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        for odd in (3, 5, 7):
            assert encode(multiples(Query(odd), desk)) == undisturbed(odd), "results go on"
        assert desk.cache.note is not None and "new results are not kept" in desk.cache.note
        assert encode(multiples(Query(1), desk)) == undisturbed(1)
    assert multiples.peek(Query(5), Desk(Cache(tmp_path))) is None
    all_right(tmp_path, least=1)


def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    desk = Desk(Cache(tmp_path))
    now = time.time()
    for number, jump in enumerate((0.0, 4e8, -4e8, 3e9, 0.0)):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        multiples(Query(number), desk)
        for earlier in range(number + 1):
            assert encode(multiples(Query(earlier), Desk(Cache(tmp_path)))) == undisturbed(earlier)
    assert desk.cache.tally.misses == 5
    monkeypatch.undo()
    all_right(tmp_path, least=5)
