"""Memoized recipes: what the key counts, what is computed once, and what is computed again."""

from __future__ import annotations

import hashlib
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float64

from backend.caching import cache as cache_module
from backend.caching import memoize
from backend.caching.cache import Cache
from backend.caching.memoize import MEASUREMENT_VERSION, Recipe, memoized
from backend.caching.serialize import NOT_IN_KEY, canonical
from backend.errors import Cancelled, UndefinedError
from tests.second_server import Desk

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Query:
    seed: int
    label: str = field(default="", metadata=NOT_IN_KEY)


@dataclass(frozen=True, eq=False)
class Result:
    draws: Float64[np.ndarray, " draws"]
    count: int


CALLS: list[Query] = []


@memoized(version=3)
def recipe(query: Query, lab: Desk) -> Result:
    """Draws of a seed."""
    CALLS.append(query)
    if query.label == "fail":
        raise UndefinedError("There is no such seed.")
    lab.progress(0.5, "Drawing.")
    time.sleep(0.01)
    return Result(np.random.default_rng(query.seed).normal(size=20), 20)


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Cache(tmp_path))


def test_a_recipe_keeps_the_face_of_its_function():
    assert isinstance(recipe, Recipe)
    assert (recipe.__name__, recipe.__doc__, recipe.version) == ("recipe", "Draws of a seed.", 3)
    assert recipe.__wrapped__ is recipe.fn  # type: ignore[attr-defined]
    assert recipe.kind is Result


def test_the_key_by_hand(monkeypatch: pytest.MonkeyPatch):
    digest = hashlib.sha256(b'{"seed":5}').hexdigest()
    assert canonical(Query(5)) == '{"seed":5}'
    assert recipe.key(Query(5, "epoch 1")) == f"tests.caching.test_memoize.recipe/3.{MEASUREMENT_VERSION}/{digest}"
    monkeypatch.setattr(memoize, "MEASUREMENT_VERSION", 99)
    assert recipe.key(Query(5)) == f"tests.caching.test_memoize.recipe/3.99/{digest}"


def test_the_key_of_a_module_of_the_backend():
    from backend.lab.lab import collect

    assert collect.name == "lab.lab.collect"
    assert collect.kind.__name__ == "Readout"


def test_computed_once_per_query(desk: Desk):
    first = recipe(Query(1), desk)
    assert recipe(Query(1, "another label"), desk) is first
    assert recipe(Query(2), desk).draws[0] != first.draws[0]
    assert [query.seed for query in CALLS] == [1, 2]


def test_warm_and_cold_are_alike(desk: Desk, tmp_path: Path):
    cold = recipe(Query(1), desk)
    warm = recipe(Query(1), Desk(Cache(tmp_path)))
    np.testing.assert_array_equal(cold.draws, np.random.default_rng(1).normal(size=20))
    np.testing.assert_array_equal(warm.draws, cold.draws)
    assert not cold.draws.flags.writeable
    assert not warm.draws.flags.writeable
    assert len(CALLS) == 1


def test_peek_never_computes(desk: Desk, tmp_path: Path):
    assert recipe.peek(Query(1), desk) is None
    assert CALLS == []
    recipe(Query(1), desk)
    for other in (desk, Desk(Cache(tmp_path))):
        cached = recipe.peek(Query(1), other)
        assert cached is not None
        assert cached.count == 20


def test_another_version_is_computed_afresh(desk: Desk):
    recipe(Query(1), desk)
    Recipe(recipe.fn, 4)(Query(1), desk)
    assert len(CALLS) == 2


def test_a_private_result_is_held_in_memory_and_nowhere_else(desk: Desk, tmp_path: Path):
    @memoized(private=True)
    def secret(query: Query, lab: Desk) -> Result:
        """Return the typed text."""
        return Result(np.arange(float(query.seed)), query.seed)

    first = secret(Query(3), desk)
    assert secret.peek(Query(3), desk) is first
    assert secret(Query(3), desk) is first
    assert desk.cache.get(secret.key(Query(3))) is None
    assert secret.peek(Query(3), Desk(Cache(tmp_path))) is None


def test_when_a_result_was_computed(desk: Desk, tmp_path: Path):
    assert recipe.computed(Query(1), desk) is None
    before = time.time()
    recipe(Query(1), desk)
    first = recipe.computed(Query(1), desk)
    assert first is not None
    assert before <= first <= time.time()
    recipe(Query(1), Desk(Cache(tmp_path)))
    assert recipe.computed(Query(1), Desk(Cache(tmp_path))) == first, "reading changes nothing"
    assert recipe.computed(Query(2), desk) is None


def test_an_error_is_not_kept(desk: Desk):
    for _ in range(2):
        with pytest.raises(UndefinedError, match="no such seed"):
            recipe(Query(1, "fail"), desk)
    assert recipe(Query(1), desk).count == 20
    assert len(CALLS) == 3


def test_threads_share_one_flight(desk: Desk):
    results: list[Result] = []
    threads = [threading.Thread(target=lambda: results.append(recipe(Query(1), desk))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(CALLS) == 1
    assert [result.count for result in results] == [20] * 16


def test_who_waits_sees_the_progress_and_can_cancel(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache_module, "PATIENCE", 0.02)
    running, finish = threading.Event(), threading.Event()

    @memoized()
    def slow(query: Query, lab: Desk) -> Result:
        lab.progress(0.75, "Three quarters.")
        running.set()
        finish.wait(10)
        return Result(np.zeros(1), 1)

    def stop(fraction: float, sentence: str) -> None:
        assert (fraction, sentence) == (0.75, "Three quarters.")
        raise Cancelled("Stopped.")

    reports: list[tuple[float, str]] = []
    thread = threading.Thread(target=slow, args=(Query(1), desk.watched(lambda *report: reports.append(report))))
    thread.start()
    running.wait(10)
    with pytest.raises(Cancelled):
        slow(Query(1), desk.watched(stop))
    finish.set()
    thread.join()
    assert reports == [(0.75, "Three quarters.")]
    assert slow.peek(Query(1), desk) is not None


def test_a_planted_pickle_is_dropped_and_recomputed(desk: Desk, tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    statement = "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, 4, ?)"
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        connection.execute(statement, (recipe.key(Query(1)), pickle.dumps(Bomb())))
    connection.close()
    assert recipe.peek(Query(1), desk) is None
    assert recipe(Query(1), desk).count == 20
    assert recipe(Query(1), Desk(Cache(tmp_path))).count == 20
    assert len(CALLS) == 1
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("data", [b"", b"garbage", memoize.encode(Query(1))])
def test_a_foreign_entry_is_dropped_and_recomputed(desk: Desk, tmp_path: Path, data: bytes):
    desk.cache.put(recipe.key(Query(1)), data)
    assert recipe.peek(Query(1), desk) is None
    assert desk.cache.get(recipe.key(Query(1))) is None
    assert recipe(Query(1), desk).count == 20
    assert recipe.peek(Query(1), Desk(Cache(tmp_path))) is not None


def test_without_a_folder_results_live_in_memory(tmp_path: Path):
    (tmp_path / "file").touch()
    desk = Desk(Cache(tmp_path / "file" / "cache"))
    first = recipe(Query(1), desk)
    assert recipe(Query(1), desk) is recipe.peek(Query(1), desk) is first
    assert len(CALLS) == 1
    assert desk.cache.note


def test_a_result_that_cannot_be_kept_is_a_bug_that_is_told(desk: Desk):
    @memoized()
    def wrong(query: Query, lab: Desk) -> Result:
        return replace(Result(np.zeros(1), 1), **{"count": [1]})  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="count is a list"):
        wrong(Query(1), desk)


def server(folder: Path, ledger: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.second_server", str(folder), str(ledger), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> list[Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split()


def appears(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} never appeared"
        time.sleep(0.02)


def test_two_servers_on_one_folder_compute_once(tmp_path: Path):
    ledger = tmp_path / "ledger"
    servers = [server(tmp_path / "cache", ledger, 2.0) for _ in range(3)]
    assert [finished(one) for one in servers] == [["21", "None"]] * 3
    assert ledger.read_text() == "computed\n"


def test_a_killed_server_does_not_block_the_next(tmp_path: Path):
    ledger = tmp_path / "ledger"
    victim = server(tmp_path / "cache", ledger, 600.0)
    appears(ledger)
    waiter = server(tmp_path / "cache", ledger, 0.0)
    appears(tmp_path / "ledger-awaited")
    assert ledger.read_text() == "computed\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    assert finished(waiter) == ["21", "None"]
    assert ledger.read_text() == "computed\n" * 2
    assert finished(server(tmp_path / "cache", ledger, 0.0)) == ["21", "None"]
    assert ledger.read_text() == "computed\n" * 2
