"""Seconds are declared, then scaled: by a calibration, by what other queries took, by what this kind took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.caching.memoize import memoized
from backend.lab import rates
from backend.lab.cost import Cost
from backend.lab.lab import Lab, ReadoutQuery
from backend.lab.rates import LEAST_SECONDS, Rates, calibration
from tests.fakes import FakeModels, fake_lab, fake_study


@dataclass(frozen=True)
class Query:
    """Ten seconds on the reference machine."""

    number: int

    @property
    def cost(self) -> Cost:
        """Ten seconds of fitting."""
        return Cost(fitting=10.0)


@dataclass(frozen=True)
class Other(Query):
    """Another kind of query."""


@dataclass(frozen=True)
class Whole(Query):
    """A query with a step."""

    @property
    def cost(self) -> Cost:
        """A second, and the recipe of a `Query`."""
        return Cost(fitting=1.0, steps=(recipe.request(Query(self.number)),))


@dataclass(frozen=True, eq=False)
class Result:
    number: int


@memoized()
def recipe(query: Query, lab: Lab) -> Result:
    """Return the number."""
    return Result(query.number)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = fake_lab(tmp_path)
    made.cache.put_json("rate/machine", 1.0)
    return made


def test_the_machine_is_calibrated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert 0 < calibration() < 1
    monkeypatch.setattr(rates, "calibration", lambda: 3 * rates.REFERENCE_SECONDS)
    assert Rates(Cache(tmp_path)).machine() == pytest.approx(3)
    monkeypatch.setattr(rates, "calibration", lambda: 1.0)
    assert Rates(Cache(tmp_path)).machine() == pytest.approx(3)


def test_what_was_measured_replaces_the_guess(lab: Lab):
    assert lab.seconds(Query(1)) == pytest.approx(10)
    lab.learner(Query(1))(30.0)
    assert lab.seconds(Query(2)) == pytest.approx(30)
    lab.learner(Query(2))(10.0)
    assert 10 < lab.seconds(Query(2)) < 30, "a mean of the measurements"


def test_other_kinds_follow_a_little(lab: Lab):
    for _ in range(20):
        lab.learner(Query(1))(20.0)
    assert lab.seconds(Other(1)) == pytest.approx(20, rel=0.05)
    lab.learner(Other(1))(10.0)
    assert lab.seconds(Other(1)) == pytest.approx(10)


def test_short_work_says_nothing_about_other_kinds(lab: Lab):
    lab.learner(Query(1))(0.001)
    assert lab.seconds(Other(1)) == pytest.approx(10)
    assert lab.seconds(Query(1)) == pytest.approx(LEAST_SECONDS)


def test_steps_count_until_they_are_in_the_cache(lab: Lab):
    assert lab.seconds(Whole(1)) == pytest.approx(11)
    assert lab.seconds(Whole(1), Query(1)) == pytest.approx(11), "shared work counts once"
    recipe(Query(1), lab)
    assert lab.seconds(Whole(1)) == pytest.approx(1)


def test_recipes_are_measured_without_those_that_they_call(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    measured: dict[str, float] = {}

    def learn(self: Rates, query: object, declared: float, seconds: float) -> None:
        measured[type(query).__name__] = seconds

    monkeypatch.setattr(Rates, "learn", learn)
    inner_seconds = 0.05

    @memoized()
    def inner(query: Query, lab: Lab) -> Result:
        """Take a while."""
        end = time.perf_counter() + inner_seconds
        while time.perf_counter() < end:
            pass
        return Result(query.number)

    @memoized()
    def outer(query: Other, lab: Lab) -> Result:
        """Only call another recipe."""
        return inner(Query(query.number), lab)

    outer(Other(3), lab)
    assert measured["Query"] >= inner_seconds
    assert measured["Other"] < inner_seconds


def test_readouts_have_their_own_rates(tmp_path: Path):
    study, lab = fake_study(), fake_lab(tmp_path, FakeModels())
    query = ReadoutQuery(study.base, study.prompts)
    before = lab.seconds(query)
    lab.learner(query)(1000.0)
    assert lab.seconds(query) == before


def test_the_parts_of_a_query_are_its_steps_in_order(lab: Lab):
    study = fake_study()
    parts = lab.parts(ReadoutQuery(study.base, study.prompts))
    assert [part.on_device for part in parts] == [True, True, True]
    assert parts[-1].seconds == pytest.approx(study.prompts.lengths.sum() / 1000)


def test_a_short_query_teaches_nothing_about_a_long_one_of_its_kind(lab: Lab):
    known, query = Rates(lab.cache), Query(1)
    known.learn(query, declared=0.08, seconds=0.004)
    assert known.ratio(query, 0.08) == pytest.approx(LEAST_SECONDS / 0.08)
    assert known.ratio(query, 100.0) == 1.0
    known.learn(query, declared=100.0, seconds=200.0)
    assert known.ratio(query, 50.0) == pytest.approx(2.0)
    assert known.ratio(query, 0.08) == pytest.approx(LEAST_SECONDS / 0.08)
