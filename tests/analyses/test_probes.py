"""Probes on fakes: readings, bias apart from knowledge, chance, flips, rows; real models are in tests/checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.analyses import probes
from backend.errors import Cancelled
from backend.stats import intervals, metrics, resampling
from benchmarks import probes as simulated
from tests.fakes import FakeModels, fake_lab, fake_study

COLUMNS = [
    *("checkpoint", "head", "norm", "layer"),
    *("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"),
    *("auc", "auc_low", "auc_high", "auc_chance"),
    *("gap", "gap_low", "gap_high"),
    *("mean_logit_diff", "mean_logit_diff_low", "mean_logit_diff_high"),
    *("recall_0", "recall_0_low", "recall_0_high", "recall_1", "recall_1_low", "recall_1_high"),
]


def asked(study, label="epoch 3", reference="base") -> probes.Query:
    return probes.Query(study.checkpoint(label), study.checkpoint(reference), study.prompts, 50, 200)


def measured(logits, labels, tmp_path, **more) -> probes.Result:
    """Result of label logits [layers, reviews, classes] in one reading."""
    study = fake_study()
    query = probes.Query(study.base, study.base, study.prompts, draws=50, **more)
    return probes.probes(logits[None].astype(np.float32), labels, (("base", "none"),), query, fake_lab(tmp_path))


def test_a_biased_reading_differs_from_an_ignorant_reading(tmp_path) -> None:
    labels = np.arange(60) % 2
    logit_diff = np.stack([np.random.default_rng(0).normal(size=60), labels + 10.0, labels * 4.0 - 2])
    logits = np.stack([np.zeros_like(logit_diff), logit_diff], axis=-1)
    result = measured(logits, labels, tmp_path)
    np.testing.assert_allclose(result.recall.value[0, 1:], [[0, 1], [1, 1]])
    np.testing.assert_allclose(result.balanced_accuracy.value[0, 1:], [0.5, 1])
    np.testing.assert_allclose(result.auc.value[0, 1:], [1, 1])
    np.testing.assert_allclose(result.mean_logit_diff.value[0, 1:, 0], [10.5, 0])
    assert result.auc_leaves_chance == (1,)
    assert result.balanced_accuracy_leaves_chance == (2,)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_null_curves_are_the_metrics_of_permuted_labels(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(25) % classes)
    logits = rng.normal(size=(3, 25, classes)).round(1)  # ties
    null = resampling.null_curves(logits, labels, 6, seed)
    for row, permuted in enumerate(resampling.permuted_labels(labels, 6, seed)):
        for layer in range(3):
            logit_diff, predicted = metrics.logit_diff(logits[layer]), metrics.predictions(logits[layer])
            recall = metrics.recalls(predicted, permuted, classes)
            assert null["balanced_accuracy"][row, layer] == pytest.approx(metrics.balanced_accuracy(recall))
            assert null["auc"][row, layer] == pytest.approx(metrics.auc(logit_diff, permuted))
            assert null["gap"][row, layer] == pytest.approx(metrics.gap(logit_diff, permuted))


def test_the_threshold_of_a_curve_by_hand() -> None:
    """Deviations 1 and 2; the larger (null - 0.5) / deviation of each permutation: 1, 1, 1, -1; 95th percentile: 1."""
    null = 0.5 + np.array([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0]])
    np.testing.assert_allclose(intervals.curve_chance(null, 0.5), [1.5, 2.5])
    constant = np.concatenate([np.full((4, 1), 0.5), null], axis=1)
    np.testing.assert_allclose(intervals.curve_chance(constant, 0.5), [np.nan, 1.5, 2.5])


@pytest.mark.parametrize(("classes", "walk"), [(2, 0.0), (3, 0.9)])
def test_a_signal_free_curve_rarely_raises_an_alarm(classes: int, walk: float) -> None:
    """200 studies know a rate of 5 % to 1.5 %; docs/analyses/probes.md tells of thousands."""
    rates = simulated.alarms(classes, 200, permutations=200, walk=walk)
    for name in ("auc", "balanced_accuracy", "gap"):
        assert 0.005 <= rates[name] <= 0.065 + 0.04, name
        assert rates[f"{name} leaves chance"] <= rates[name]


def test_the_references_own_readings_are_called_base_and_are_there_once(tmp_path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    result = probes.recipe(asked(study, "base"), lab)
    assert result.readings == (("base", "none"), ("base", "base"), probes.AS_PUBLISHED)
    assert [result.place(h, n) for h, n in (("own", "own"), ("own", "none"), ("base", "own"))] == [1, 0, 1]
    rows = list(result.rows(asked(study, "base")))
    assert {(row["head"], row["norm"]) for row in rows} == {("base", "none"), ("base", "base")}
    again = probes.recipe(asked(study, "epoch 1", reference="epoch 1"), lab)
    assert again.readings == result.readings


def test_as_published_is_no_norm_and_then_the_own_one(tmp_path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    result = probes.recipe(asked(study), lab)
    published, plain, own = (result.place(*one) for one in (probes.AS_PUBLISHED, ("base", "none"), ("base", "own")))
    np.testing.assert_array_equal(result.logit_diff[published, :-1], result.logit_diff[plain, :-1])
    np.testing.assert_array_equal(result.logit_diff[published, -1], result.logit_diff[own, -1])
    assert (result.logit_diff[plain, -1] != result.logit_diff[own, -1]).any()


def test_a_layer_without_text_is_read_alike(tmp_path) -> None:
    result = probes.recipe(asked(fake_study()), fake_lab(tmp_path))
    assert (result.auc.value[:, 0] == 0.5).all()
    assert (result.gap.value[:, 0] == 0).all()
    level = result.auc.chance
    assert level is not None and np.isnan(level[:, 0]).all()


def test_settles_is_the_layer_of_the_last_flip(tmp_path) -> None:
    logit_diff = np.array([[1, -1, 1, 1.0], [1, 1, -1, 1], [1, 1, 1, -1], [1, 1, 1, 1]]).T  # [layers, reviews]
    logits = np.stack([np.zeros_like(logit_diff), logit_diff], axis=-1)
    result = measured(logits, np.array([0, 1, 0, 1]), tmp_path)
    assert result.settles(0).tolist() == [2, 3, 3, 0]


def test_rows_are_those_of_the_contract(tmp_path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    result = probes.recipe(asked(study), lab)
    rows = list(result.rows(asked(study)))
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)}
    assert len(rows) == 6 * 13
    keys = {(row["head"], row["norm"], row["layer"]) for row in rows}
    assert len(keys) == len(rows)
    assert {key[:2] for key in keys} == set(probes.READINGS)
    one = next(row for row in rows if (row["head"], row["norm"], row["layer"]) == ("own", "base", 7))
    assert one["auc"] == result.auc.value[result.place("own", "base"), 7]
    published = list(result.rows_of(asked(study), probes.AS_PUBLISHED))
    assert len(published) == 13
    reviews = list(result.review_rows(asked(study), ("own", "own"), study.sample.index))
    assert len(reviews) == 13 * 60
    assert list(result.review_rows(asked(study), ("own", "own"), study.sample.index, 3)) == reviews[39:52]


def test_three_classes_have_a_bias_each(tmp_path) -> None:
    study = fake_study(classes=3)
    rows = list(probes.recipe(asked(study), fake_lab(tmp_path)).rows(asked(study)))
    assert list(rows[0])[:5] == ["checkpoint", "head", "norm", "layer", "class"]
    assert list(rows[0])[-3:] == ["recall_2", "recall_2_low", "recall_2_high"]
    assert len(rows) == 6 * 13 * 3
    assert rows[3]["mean_logit_diff"] != rows[4]["mean_logit_diff"]
    assert rows[3]["auc"] == rows[4]["auc"]


def test_one_run_of_the_model_serves_all_readings_and_a_cancel_arrives(tmp_path) -> None:
    study, models = fake_study(), FakeModels()
    lab = fake_lab(tmp_path, models)
    reports: list[float] = []
    probes.recipe(asked(study), lab.watched(lambda fraction, _: reports.append(fraction)))
    assert len(models.ran) == 1
    assert reports == sorted(reports)
    assert reports[-1] == 1.0

    def cancel(fraction: float, _sentence: str) -> None:
        if fraction > 0.7:
            raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        probes.recipe(asked(study, "epoch 1"), lab.watched(cancel))


def test_queries_take_any_reference() -> None:
    study = fake_study()
    assert {query.reference.label for query in probes.queries(study, "epoch 2")} == {"epoch 2"}
    assert [query.checkpoint.label for query in probes.queries(study)] == ["base", "epoch 1", "epoch 2", "epoch 3"]


def test_queries_need_a_head() -> None:
    study = fake_study()
    headless = replace(study.base, facts=replace(study.base.facts, kind="encoder", has_head=False))
    encoders = replace(study, checkpoints=(headless, *study.checkpoints[1:]))
    for reference in ("base", "epoch 1"):
        queries = [query.checkpoint.label for query in probes.queries(encoders, reference)]
        assert queries == ["epoch 1", "epoch 2", "epoch 3"]


def test_a_reference_without_a_head_lends_its_norm_only(tmp_path) -> None:
    study = fake_study()
    query = asked(study)
    headless = replace(query, reference=replace(study.base, facts=study.base.facts.body))
    result = probes.recipe(headless, fake_lab(tmp_path / "headless"))
    whole = probes.recipe(query, fake_lab(tmp_path / "whole"))
    assert result.readings == tuple(("own", norm) for norm in ("none", "base", "own"))
    for reading in result.readings:
        np.testing.assert_array_equal(
            result.logit_diff[result.place(*reading)], whole.logit_diff[whole.place(*reading)]
        )
    assert {row["head"] for row in result.rows(headless)} == {"own"}
