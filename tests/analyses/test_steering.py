"""Steering: which vectors are made, what is measured, and the null of permuted labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.analyses import steering
from backend.analyses.steering import MEASURES, Query
from backend.derived import steering_vectors
from backend.derived.steering_vectors import ALPHAS
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.lab.outputs import Ablation, SteeringVectors
from backend.stats import metrics
from backend.study.pinned import PinnedStudy
from tests.analyses.conftest import LAYERS
from tests.fakes import FakeModels, fake_study, run_seconds


def query(study: PinnedStudy, **more: object) -> Query:
    request = Query(study.checkpoints[-1], study.checkpoints[-1], study.prompts, ((2, 2), (3, 4)), null=3, draws=60)
    return replace(request, direction=0 if study.prompts.classes == 2 else 2, **more)


def test_pushes_by_hand():
    d = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    one = steering_vectors.scaled(d, (1, 2), -0.5)
    assert one.layers == (2,) and one.vectors.tolist() == [[-1.5, -2.0]]
    np.testing.assert_allclose(steering_vectors.scaled(d, (1, 2), 10.0, scale="unit").vectors, [[6, 8]], rtol=1e-6)
    each = steering_vectors.scaled(d, (None, None), 2.0, "all")
    assert (each.layers, each.positions) == ((0, 1, 2), "all")
    assert each.vectors.tolist() == (2 * d).tolist()
    assert steering_vectors.scaled(d, (1, None), 1.0).vectors.tolist() == [[3, 4]] * 3
    taken = steering_vectors.ablation(d, 1, np.ones((5, 3, 2), np.float32))
    np.testing.assert_allclose(taken.unit, [0.6, 0.8], rtol=1e-6)
    assert taken.mean.tolist() == [[1, 1]] * 3
    assert [steering_vectors.exists(d, spot) for spot in ((0, 0), (1, None), (None, None))] == [False, True, True]


@given(seed=st.integers(0, 1000), classes=st.integers(2, 4))
def test_permuted_directions_are_as_long_as_the_real_one(seed: int, classes: int):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(24, 3, 5)).astype(np.float32)
    x[:, 0] = 1.0
    labels = np.arange(24) % classes
    d = metrics.directions(x, labels, classes)[0]
    null = steering_vectors.permuted_directions(x, labels, classes, 0, 4, seed)
    np.testing.assert_allclose(np.linalg.norm(null, axis=2), np.tile(np.linalg.norm(d, axis=1), (4, 1)), rtol=1e-6)
    again = steering_vectors.permuted_directions(x, labels, classes, 0, 6, seed)
    np.testing.assert_array_equal(again[:4], null)
    assert (np.abs(null[:, 1] - d[1]).max(axis=1) > 1e-6).any()
    assert not null[:, 0].any()


def test_every_number_is_that_of_the_steered_models_logits(study: PinnedStudy, lab: Lab):
    request = query(study)
    result, labels, classes, c = (
        steering.recipe(request, lab),
        study.prompts.labels,
        study.prompts.classes,
        request.direction,
    )
    read = lab.readout(study.checkpoints[-1], study.prompts)
    d = metrics.directions(read.residuals, labels, classes)[c]
    requested = 1 if classes == 2 else c
    for s, (source, layer) in enumerate(request.spots):
        for a, alpha in enumerate(ALPHAS):
            plan = (SteeringVectors((int(layer or 0),), (alpha * d[source])[None].astype(np.float32)),)
            logits = lab.models.steered(request.checkpoint, plan, study.prompts, lab.progress)[0]
            before, after = read.logits.argmax(axis=1) == requested, logits.argmax(axis=1) == requested
            logit_diff = metrics.logit_diff(logits)
            expected = {
                "gap": metrics.gap(logit_diff, labels),
                "auc": metrics.auc(logit_diff, labels),
                "balanced_accuracy": np.mean(
                    [(logits.argmax(axis=1) == k)[labels == k].mean() for k in range(classes)]
                ),
                "flipped_to_1": np.mean(after & ~before),
                "flipped_to_0": np.mean(before & ~after),
                "mean_logit_diff": logit_diff[:, c].mean(),
            }
            for name in MEASURES:
                value, low, high = result.of(name).ends
                assert value[s, a] == pytest.approx(expected[name], abs=1e-5), name
                assert low[s, a] - 1e-9 <= value[s, a] <= high[s, a] + 1e-9, name
    np.testing.assert_allclose(result.norm, np.linalg.norm(d[[2, 3]], axis=1))
    np.testing.assert_allclose(result.measures.value[:, :, ALPHAS.index(0.0)], np.tile(result.plain, (2, 1)).T)
    assert (result.chance > 0).all()


def test_the_direction_pushes_further_than_permuted_ones(study: PinnedStudy, lab: Lab):
    result = steering.recipe(query(study, spots=((4, 4),), null=20), lab)
    value, null = result.of("mean_logit_diff").value, result.null_of("mean_logit_diff")
    assert (np.diff(value, axis=1) > 0).all()
    assert value[0, -1] > null[:, 0, -1].max() and value[0, 0] < null[:, 0, 0].min()
    assert null.shape == (20, 1, len(ALPHAS))


def test_a_strong_coefficient_of_either_sign_says_one_thing(lab: Lab, models: FakeModels):
    study = fake_study(epochs=2, models=models)
    result = steering.recipe(query(study, alphas=(-1000.0, 0.0, 1000.0), null=0), lab)
    accuracy = result.of("balanced_accuracy").value
    np.testing.assert_allclose(accuracy[:, [0, 2]], 0.5)
    became, left = (result.of(name).value for name in ("flipped_to_1", "flipped_to_0"))
    np.testing.assert_allclose(became[:, 2] + left[:, 0], 1)  # all reviews of the other class changed


def test_plans_are_what_the_query_says(study: PinnedStudy, lab: Lab, models: FakeModels, monkeypatch):
    plans: list[Any] = []
    run = models.steered

    def watched(one, plan, *rest):
        plans.append(plan)
        return run(one, plan, *rest)

    monkeypatch.setattr(models, "steered", watched)
    steering.recipe(query(study, positions="all", alphas=(-1.0, 0.0, 2.0), null=2), lab)
    assert len(plans[-1]) == 3 * 2 * 2
    assert all(isinstance(one, SteeringVectors) and one.positions == "all" for one in plans[-1])
    steering.recipe(query(study, spots=((None, None),), null=0), lab)
    assert {one.layers for one in plans[-1]} == {tuple(range(LAYERS + 1))}
    last = study.checkpoints[-1]
    steering.recipe(replace(steering.ablated(last, study.base, study.prompts, 2, 0), draws=20), lab)
    assert len(plans[-1]) == 21 and all(isinstance(one, Ablation) for one in plans[-1])
    mean = lab.readout(last, study.prompts).residuals.mean(axis=0)
    np.testing.assert_allclose(plans[-1][0].mean, mean, rtol=1e-5)  # the host's own


def test_without_a_direction_every_value_is_empty(study: PinnedStudy, lab: Lab):
    request = query(study, spots=((0, 0),), null=1)  # layer 0 of the fake holds no text
    result = steering.recipe(request, lab)
    assert np.isnan(result.measures.value).all() and np.isnan(result.null).all() and np.isfinite(result.plain).all()
    row = next(iter(result.rows(request)))
    assert {row[f"{name}{end}"] for name in MEASURES for end in ("", "_low", "_high")} == {None}


def test_rows_have_the_contracts_columns(study: PinnedStudy, lab: Lab):
    request = query(study)
    rows = list(steering.recipe(request, lab).rows(request))
    of_class = [] if study.prompts.classes == 2 else ["class"]
    columns = ["checkpoint", "kind", "direction_from", "direction_layer", "layer", "positions", "scale", *of_class]
    columns += ["alpha", "draw", *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high"))]
    assert {tuple(row) for row in rows} == {tuple(columns)}
    assert len(rows) == 2 * (1 + 3) * len(ALPHAS)
    assert [row["draw"] for row in rows[:: len(ALPHAS)]] == [None, 0, 1, 2] * 2
    assert (rows[-1]["direction_layer"], rows[-1]["layer"], rows[-1]["alpha"]) == (3, 4, 8.0)
    assert rows[0]["gap_low"] is not None and rows[-1]["gap_low"] is None and rows[-1]["gap"] is not None
    request = replace(steering.ablated(study.base, study.base, study.prompts, 2, 0), draws=20)
    row = next(iter(steering.recipe(request, lab).rows(request)))
    assert (row["kind"], row["layer"], row["alpha"]) == ("ablate", "all", None)


def test_queries_are_own_directions_transfer_and_ablation(study: PinnedStudy):
    queries = steering.queries(study)
    classes = 1 if study.prompts.classes == 2 else study.prompts.classes
    first = [q for q in queries if q.direction == 0]
    assert len(queries) == classes * len(first)
    report = [(one.checkpoint.label, one.direction_from.label, one.kind, len(one.spots), one.null) for one in first]
    own = [("base", "base"), ("epoch 1", "epoch 1"), ("epoch 2", "epoch 2")]
    null = {"base": 20, "epoch 1": 0, "epoch 2": 20}
    each = [(*pair, *rest) for pair in own for rest in (("add", 5, 0), ("add", 1, 20), ("ablate", 1, null[pair[0]]))]
    moved = ("base", "epoch 2")
    assert report == [*each, (*moved, "add", 5, 0), (*moved, "add", 1, 20), (*moved, "add", 5, 0)]
    assert first[-1].spots == tuple((layer, None) for layer in range(LAYERS + 1))
    assert len(steering.queries(study, "epoch 2")) == classes * 9  # the last one has no other to take from


def test_the_cost_of_steering(study: PinnedStudy, lab: Lab):
    tokens = int(study.prompts.lengths.sum())
    last = study.checkpoints[-1]
    one = run_seconds(lab, last, tokens)
    alone = query(study, spots=((2, 2),), null=0)
    light = 1 + 8 * 0.5 / float(study.prompts.lengths.mean())
    assert lab.seconds(alone) == pytest.approx(one + lab.models.reading(last, int(light * tokens)), rel=0.1)
    assert lab.seconds(replace(alone, positions="all")) == pytest.approx(
        one + lab.models.reading(last, 5 * tokens), rel=0.1
    )


def test_a_class_without_reviews_is_an_error():
    logits = np.zeros((6, 2), dtype=np.float32)
    with pytest.raises(UndefinedError, match="needs texts"):
        steering.steering(logits[None, None, None], logits, np.zeros(6, dtype=np.int64), np.ones(1), np.ones(1))
