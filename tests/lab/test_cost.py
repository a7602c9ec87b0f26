"""What queries declare as their cost, and what the fields of the others imply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.analyses import cka_grid, geometry, similarity
from backend.caching.serialize import canonical
from backend.lab.autoencoders import AutoencoderQuery, AutoencoderSpec
from backend.lab.cost import Cost, cost_of
from backend.lab.lab import ReadoutQuery
from backend.lab.rates import LEAST_SECONDS
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from tests.fakes import FakeModels, fake_lab, fake_study, run_seconds


@dataclass(frozen=True)
class Plain:
    """A query that declares nothing."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts | None
    tokens: int = 7
    passes: float = 3.0


@dataclass(frozen=True)
class Declared(Plain):
    """A query that declares its cost."""

    @property
    def cost(self) -> Cost:
        """One pass over 100 tokens, and two seconds of fitting."""
        return Cost(passes=((self.checkpoint, 100),), fitting=2.0)


@pytest.fixture
def study() -> PinnedStudy:
    return fake_study()


def test_a_plain_query_reads_its_prompts_or_opens_its_models(study: PinnedStudy):
    assert cost_of(Plain(study.base, study.prompts)) == Cost(readouts=((study.base, study.prompts),))
    assert cost_of(Plain(study.base, None)) == Cost(passes=((study.base, 0),)), "no field counts by its name"


def test_nested_queries_count_once(study: PinnedStudy):
    spec = AutoencoderSpec(layer=3, features=64)
    training = AutoencoderQuery((study.base, study.base), study.prompts, spec)
    cost = cost_of((training, ReadoutQuery(study.checkpoints[1], study.prompts), training))
    assert cost.readouts == ((study.base, study.prompts), (study.checkpoints[1], study.prompts))
    assert cost.trainings == (training,)


def test_a_declared_cost_comes_first_and_stays_out_of_the_key(study: PinnedStudy, tmp_path: Path):
    lab = fake_lab(tmp_path)
    query = Declared(study.base, study.prompts)
    lab.cache.put_json("rate/machine", 2.0)  # half as fast as the reference machine
    assert lab.seconds(query) == pytest.approx(run_seconds(lab, study.base, 100) + 4.0)
    assert canonical(query) == canonical(Plain(study.base, study.prompts))


def test_readouts_in_the_cache_are_free(study: PinnedStudy, tmp_path: Path):
    lab = fake_lab(tmp_path)
    query = Plain(study.base, study.prompts)
    reading = run_seconds(lab, study.base, int(study.prompts.lengths.sum()))
    assert lab.seconds(query) == pytest.approx(reading + LEAST_SECONDS)
    lab.readout(study.base, study.prompts)
    assert lab.seconds(query) == LEAST_SECONDS


@pytest.mark.parametrize(
    ("query", "least", "most"),
    [(similarity.Query, 30, 125), (cka_grid.Query, 5, 25), (geometry.Query, 1, 1)],
    ids=["similarity", "grid", "geometry"],
)
def test_five_times_the_reviews_of_a_wide_model_cost_what_their_products_do(query: type, least: float, most: float):
    declared = []
    for reviews in (400, 2000):
        study = fake_study(reviews=reviews, models=FakeModels(layers=2, width=4096))
        declared.append(cost_of(query(study.checkpoints[1], study.base, study.prompts)).fitting)
    assert least <= declared[1] / declared[0] <= most
