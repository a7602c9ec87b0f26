"""Turnover: by hand, at its bounds, and on planted features of which base and epochs use different ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.analyses import feature_turnover
from backend.analyses.feature_turnover import Query, spread, turnover
from tests.fakes import FakeModels, fake_lab, fake_study


def test_four_rows_of_which_three_are_found_again():
    before = np.eye(6)[:4]
    after = np.concatenate([np.eye(6)[1:4], np.eye(6)[5:], np.array([[0, 0, 0, 0, 1.0, 0]])])
    kept, new, cosine = turnover(before, after)
    assert kept == 0.75  # of e0, e1, e2, e3 all but the first
    assert new == pytest.approx(2 / 5)  # e4 and e5
    assert cosine == pytest.approx(0.75)


def test_a_bend_of_45_degrees_is_just_the_same_feature():
    row = np.array([[1.0, 0.0]])
    assert turnover(row, np.array([[1.0, 1.0]]))[0] == 1  # its cosine is 0.707
    assert turnover(row, np.array([[1.0, 1.05]]))[0] == 0


def test_nothing_to_pair_is_undefined():
    assert np.isnan(turnover(np.zeros((0, 3)), np.eye(3))).all()


def test_order_and_length_of_rows_do_not_count():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 40))
    assert turnover(rows, 2 * rows[::-1]) == pytest.approx((1, 0, 1))
    a, b = turnover(rows, rng.normal(size=(12, 40))), turnover(rows[::-1], rng.normal(size=(12, 40)))
    assert a[0] == b[0] == 0 and a[1] == b[1] == 1


def test_planted_features_are_exchanged_and_other_seeds_find_the_same(tmp_path: Path):
    models = FakeModels(layers=4, width=16)
    study, lab = fake_study(models=models, epochs=2), fake_lab(tmp_path, models)
    query = Query(study.checkpoints[1:], study.base, study.prompts, (2, 4), 64, 16)
    result = feature_turnover.recipe(query, lab)
    assert result.floor_kept.tolist() == [1, 1] and result.floor_new.tolist() == [0, 0]
    assert result.kept == pytest.approx(np.full((2, 2), 10 / 11))  # one of eleven is the base's alone
    assert result.new == pytest.approx(np.full((2, 2), 1 / 11))
    assert (result.floor_cosine > 0.95).all() and (result.cosine <= 1).all()
    rows = list(result.rows(query))
    assert [(row["checkpoint"], row["layer"]) for row in rows] == [
        ("epoch 1", 2),
        ("epoch 1", 4),
        ("epoch 2", 2),
        ("epoch 2", 4),
    ]
    assert rows[0].keys() >= {"kept", "new", "cosine", "floor_kept", "floor_new", "floor_cosine"}


def test_trainings_differ_in_seed_alone(tmp_path: Path):
    study = fake_study(epochs=1)
    query = Query(study.checkpoints[1:], study.base, study.prompts, (3,), 64, 16, seed=5)
    trainings = query.trainings(3)
    assert [one.spec.seed for one in trainings] == [5, 6, 6]
    assert [one.checkpoints[0].label for one in trainings] == ["base", "base", "epoch 1"]


def test_the_cost_is_that_of_every_training():
    study = fake_study(epochs=1)
    queries = (Query(study.checkpoints[1:], study.base, study.prompts, layers, 64, 16) for layers in ((3,), (3, 5)))
    narrow, wide = (query.cost.trainings for query in queries)
    assert len(wide) == 2 * len(narrow) > 0
    assert set(narrow) < set(wide)


def test_layers_are_spread_over_the_model():
    assert spread(12) == (1, 4, 6, 9, 12)
    assert spread(3) == (1, 2, 3)
    assert spread(1) == (1,)
