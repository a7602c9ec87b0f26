"""Attribution: gaps of parts against the metrics, sums, paired changes, rows; real models are in tests/checkpoints."""

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import attribution
from backend.stats import intervals, metrics, resampling
from tests.fakes import FakeModels, fake_lab, fake_study


def small(**more):
    models = FakeModels(layers=3, width=8)
    return fake_study(models=models, reviews=36, **more), models


@pytest.mark.parametrize("classes", [2, 3])
def test_gaps_and_means_of_parts_are_those_of_the_metrics(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.permutation(np.arange(30) % classes)
    own, before = rng.normal(size=(2, 30, 4, classes))
    places = (("embed", -1, -1), ("head", 0, 0), ("mlp", 0, -1), ("norm_bias", -1, -1))
    result = attribution.attribution(own, before, places, labels, draws=200)
    contrast = metrics.contrasts(classes)
    counts = resampling.bootstrap_counts(labels, 200, 0)
    for part in range(4):
        share, old = own[:, part] @ contrast.T, before[:, part] @ contrast.T
        assert result.gap.value[part] == pytest.approx(metrics.gap(share, labels))
        low, high = intervals.gap_interval(share, labels, 200, 0)
        assert (result.gap.low[part], result.gap.high[part]) == pytest.approx((low, high))
        assert result.change.value[part] == pytest.approx(metrics.gap(share, labels) - metrics.gap(old, labels))
        drawn = metrics.gaps(share, labels, counts) - metrics.gaps(old, labels, counts)
        limits = np.quantile(drawn, (0.025, 0.975))
        np.testing.assert_allclose((result.change.low[part], result.change.high[part]), limits)
        for c in range(classes):
            column = 0 if classes == 2 else c
            assert result.mean.value[part, c] == pytest.approx(share[labels == c, column].mean())
    assert (result.mean.low < result.mean.value).all() and (result.mean.value < result.mean.high).all()
    assert result.total_gap == pytest.approx(metrics.gap(own.sum(axis=1) @ contrast.T, labels))


def test_the_parts_sum_to_the_gap_of_the_models_own_logit_diff(tmp_path) -> None:
    study, models = small()
    lab = fake_lab(tmp_path, models)
    for query in attribution.queries(study)[:2]:
        result = attribution.recipe(query, lab)
        logit_diff = metrics.logit_diff(lab.readout(query.checkpoint, study.prompts).logits)
        assert result.total_gap == pytest.approx(metrics.gap(logit_diff, study.prompts.labels), abs=1e-4)
        assert result.change.value.sum() == pytest.approx(result.total_gap - _gap_of_base(study, lab), abs=1e-4)


def _gap_of_base(study, lab) -> float:
    return metrics.gap(metrics.logit_diff(lab.readout(study.base, study.prompts).logits), study.prompts.labels)


def test_the_reference_does_not_change_from_itself(tmp_path) -> None:
    study, models = small()
    result = attribution.recipe(attribution.queries(study, "epoch 1")[1], fake_lab(tmp_path, models))
    assert not result.change.value.any() and not result.change.low.any() and not result.change.high.any()


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_name_every_part_once_per_class(tmp_path, classes: int) -> None:
    study, models = small(classes=classes)
    query = attribution.queries(study)[1]
    rows = list(attribution.recipe(query, fake_lab(tmp_path, models)).rows(query))
    assert len(rows) == classes * (1 + 3 * (2 + 2) + 1)
    assert list(rows[0])[:5] == ["checkpoint", "part", "layer", "head", "label"]
    assert ("class" in rows[0]) == (classes > 2)
    assert rows[0]["layer"] is rows[0]["head"] is None
    assert [(row["part"], row["layer"], row["head"]) for row in rows[classes::classes]][:4] == [
        ("head", 0, 0),
        ("head", 0, 1),
        ("attn_bias", 0, None),
        ("mlp", 0, None),
    ]
    for name in ("mean", "gap", "change"):
        assert all(row[f"{name}_low"] <= row[f"{name}_high"] for row in rows)


def test_each_checkpoint_is_taken_apart_once(tmp_path) -> None:
    study, models = small(epochs=2)
    lab = fake_lab(tmp_path, models)
    reports: list[float] = []
    for query in attribution.queries(study):
        attribution.recipe(query, lab.watched(lambda fraction, _: reports.append(fraction)))
    assert len(models.ran) == 3
    assert reports[-1] == 1.0


def test_beside_a_reference_without_a_head_nothing_changed_from_it(tmp_path) -> None:
    study, models = small(epochs=2)
    headless = replace(study.base, facts=study.base.facts.body)
    classifiers = replace(study, checkpoints=(headless, *study.checkpoints[1:]))
    queries = attribution.queries(classifiers)
    assert [query.checkpoint.label for query in queries] == ["epoch 1", "epoch 2"]
    result = attribution.recipe(queries[0], fake_lab(tmp_path / "headless", models))
    whole = attribution.recipe(attribution.queries(study)[1], fake_lab(tmp_path / "whole", models))
    np.testing.assert_array_equal(result.gap.value, whole.gap.value)
    assert np.isnan([result.change.value, result.change.low, result.change.high]).all()
    assert all(row["change"] is row["change_low"] is None for row in result.rows(queries[0]))
