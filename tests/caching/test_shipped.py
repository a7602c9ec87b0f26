"""Results in a zip file: found by key, only for the code that computed them, and never an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.caching import shipped
from backend.caching.cache import Cache
from backend.caching.shipped import Shipped, ship, stale

KEY, OTHER = "analyses.direction.recipe/1.1/ab", "analyses.accuracy.recipe/1.1/cd"


def forget() -> None:
    """Have the code read again."""
    shipped.code_digest.cache_clear()
    shipped._of_shared_rooms.cache_clear()


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A backend of two analyses and a shared room."""
    for name in ("analyses/direction.py", "analyses/accuracy.py", "stats/metrics.py", "figures/direction.py"):
        (tmp_path / "backend" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "backend" / name).write_text("x = 1\n")
    monkeypatch.setattr(shipped, "BACKEND", tmp_path / "backend")
    forget()
    yield tmp_path / "backend"
    forget()


def found(file: Path) -> list[bytes | None]:
    forget()
    archive = Shipped([file])
    return [archive.get(KEY), archive.get(OTHER)]


def test_entries_are_found_by_key(backend: Path, tmp_path: Path):
    file = tmp_path / "results.zip"
    size = ship({KEY: b"one", OTHER: b"two" * 1000, "rate/cpu": b"3", "lab.lab.collect/1": b"large"}, file)
    assert size == file.stat().st_size < 1000
    archive = Shipped([tmp_path / "absent.zip", file])
    assert (archive.get(KEY), archive.get(OTHER), archive.get("analyses.pca.recipe/1.1/ef")) == (
        b"one",
        b"two" * 1000,
        None,
    )
    assert archive.get("rate/cpu") is None, "the speed of another machine"
    assert archive.get("code.json") is None
    assert archive.used == {KEY, OTHER}


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ("analyses/direction.py", [None, b"two"]),
        ("stats/metrics.py", [None, None]),
        ("stats/intervals.py", [None, None]),
        ("figures/direction.py", [b"one", b"two"]),
    ],
)
def test_entries_of_changed_code_are_ignored(backend: Path, tmp_path: Path, changed: str, left: list[bytes | None]):
    ship({KEY: b"one", OTHER: b"two"}, tmp_path / "results.zip")
    (backend / changed).write_text("x = 2\n")
    assert found(tmp_path / "results.zip") == left
    assert bool(stale(tmp_path / "results.zip")) == (None in left)


def test_line_ends_of_a_checkout_do_not_count(backend: Path, tmp_path: Path):
    ship({KEY: b"one", OTHER: b"two"}, tmp_path / "results.zip")
    (backend / "stats" / "metrics.py").write_bytes(b"x = 1\r\n")
    assert found(tmp_path / "results.zip") == [b"one", b"two"]


def test_a_damaged_file_counts_as_empty(backend: Path, tmp_path: Path):
    file = tmp_path / "results.zip"
    ship({KEY: bytes(range(256)) * 50, OTHER: b"two"}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert found(file) == [None, None]
    at = whole.index(KEY.encode()) + len(KEY) + 20
    file.write_bytes(whole[:at] + b"\0\1\2\3" + whole[at + 4 :])
    assert found(file) == [None, b"two"]
    file.write_bytes(b"no zip file")
    assert found(file) == [None, None]


def test_the_cache_looks_there_last(backend: Path, tmp_path: Path):
    ship({KEY: b"shipped"}, tmp_path / "results.zip")
    cache = Cache(tmp_path / "cache", shipped=Shipped([tmp_path / "results.zip"]))
    assert cache.get(KEY) == b"shipped"
    assert list(cache.entries()) == []
    cache.put(KEY, b"own")
    assert cache.get(KEY) == b"own"
    assert list(cache.entries()) == [(KEY, b"own")]
    cache.drop(KEY)
    assert cache.get(KEY) == b"shipped"
