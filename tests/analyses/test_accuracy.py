"""Accuracy: counts by hand, scikit-learn as reference, more than two classes, the recipe on fakes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from backend.analyses import accuracy
from backend.errors import UndefinedError
from tests.fakes import FakeModels, fake_lab, fake_study

LOGITS = np.array([[1, 0], [2, 0], [0, 1], [0, 3], [0, 2], [4, 0]], dtype=np.float32)
LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_six_reviews_by_hand() -> None:
    result = accuracy.accuracy(LOGITS, LABELS, draws=200)
    np.testing.assert_allclose(result.recall.value, [2 / 3, 2 / 3])
    np.testing.assert_array_equal(result.prediction, [0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(result.n, [3, 3])
    np.testing.assert_allclose(result.logit_diff[:, 0], [-1, -2, 1, 3, 2, -4])
    assert result.balanced_accuracy.value == pytest.approx(2 / 3)
    assert result.gap.value == pytest.approx(1 / 3 - (-2 / 3))
    assert result.mean_logit_diff.value[0] == pytest.approx(-1 / 6)
    assert result.auc.value == pytest.approx(6 / 9)  # 3 and 2 beat all three, -4 none


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_agrees_with_scikit_learn_and_ignores_a_common_shift(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(6 * classes) % classes)
    logits = rng.normal(size=(len(labels), classes)) + np.eye(classes)[labels]
    result = accuracy.accuracy(logits, labels, draws=20)
    shifted = accuracy.accuracy(logits + rng.normal(size=(len(labels), 1)), labels, draws=20)
    assert result.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(labels, logits.argmax(axis=1)))
    columns = range(1, 2) if classes == 2 else range(classes)
    areas = [roc_auc_score(labels == c, result.logit_diff[:, i]) for i, c in enumerate(columns)]
    assert result.auc.value == pytest.approx(np.mean(areas))
    assert shifted.gap.value == pytest.approx(result.gap.value)
    assert shifted.balanced_accuracy.value == result.balanced_accuracy.value


def test_intervals_hold_their_values_and_shrink() -> None:
    few, many = (accuracy.accuracy(np.tile(LOGITS, (k, 1)), np.tile(LABELS, k)) for k in (2, 40))
    for name in ("balanced_accuracy", "auc", "gap"):
        value, low, high = getattr(few, name).ends
        assert low <= value <= high
        assert getattr(many, name).high - getattr(many, name).low < high - low


def test_a_class_without_reviews_has_no_accuracy() -> None:
    with pytest.raises(UndefinedError):
        accuracy.accuracy(LOGITS, np.zeros(6, dtype=np.int64))


def test_recipe_runs_once_and_is_deterministic(tmp_path) -> None:
    study = fake_study()
    models = FakeModels()
    lab = fake_lab(tmp_path, models)
    reports: list[tuple[float, str]] = []
    queries = accuracy.queries(study)
    first = [accuracy.recipe(query, lab.watched(lambda *report: reports.append(report))) for query in queries]
    assert len(models.ran) == len(queries) == 4
    again = [accuracy.recipe(query, lab) for query in queries]
    elsewhere = [accuracy.recipe(query, fake_lab(tmp_path / "other")) for query in queries]
    assert len(models.ran) == 4
    for one, two, three in zip(first, again, elsewhere, strict=True):
        np.testing.assert_array_equal(one.logit_diff, two.logit_diff)
        assert one.auc.low == two.auc.low == three.auc.low
    assert reports[-1][0] == 1.0
    assert all(sentence.endswith(".") and 0 <= fraction <= 1 for fraction, sentence in reports)
    assert first[0].balanced_accuracy.value < 0.7 < 0.8 < first[-1].balanced_accuracy.value


def test_rows_are_those_of_the_contract(tmp_path) -> None:
    study = fake_study()
    query = accuracy.queries(study)[1]
    rows = list(accuracy.recipe(query, fake_lab(tmp_path)).rows(query))
    values = ("recall", "balanced_accuracy", "auc", "gap", "mean_logit_diff")
    columns = [column for name in values for column in (name, f"{name}_low", f"{name}_high")]
    assert [list(row) for row in rows] == [["checkpoint", "label", *columns, "n"]] * 2
    assert [row["checkpoint"] for row in rows] == ["epoch 1"] * 2
    assert [(row["label"], row["n"]) for row in rows] == [(0, 30), (1, 30)]
    assert rows[0]["auc"] == rows[1]["auc"]
    assert rows[0]["recall"] != rows[1]["recall"]


def test_three_classes_name_theirs(tmp_path) -> None:
    query = accuracy.queries(fake_study(classes=3))[-1]
    result = accuracy.recipe(query, fake_lab(tmp_path))
    rows = list(result.rows(query))
    assert list(rows[0])[:3] == ["checkpoint", "label", "class"]
    assert [row["class"] for row in rows] == [0, 1, 2]
    assert [row["mean_logit_diff"] for row in rows] == result.mean_logit_diff.value.tolist()


def test_a_checkpoint_without_a_head_answers_nothing_and_exports_nothing(tmp_path: Path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    headless = replace(study.base, facts=replace(study.base.facts, has_head=False))
    query = accuracy.Query(headless, study.prompts)
    result = accuracy.recipe(query, lab)
    assert list(result.rows(query)) == []
    assert np.isnan(
        [
            result.auc.value,
            result.gap.value,
            result.balanced_accuracy.value,
            *result.recall.value,
            *result.mean_logit_diff.value,
        ]
    ).all()
    queries = accuracy.queries(replace(study, checkpoints=(headless, *study.checkpoints[1:])))
    assert [q.checkpoint.label for q in queries] == ["epoch 1", "epoch 2", "epoch 3"]
