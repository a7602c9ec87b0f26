"""What a model answers, in numbers: by hand, by a bound or invariance, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from backend.errors import UndefinedError
from backend.stats import metrics

LABELS = np.array([0, 0, 1, 1])
seeds = st.integers(0, 2**32 - 1)


def test_logit_diff_by_hand():
    assert metrics.logit_diff(np.array([[1.0, 3.0], [2.0, -1.0]])).tolist() == [[2.0], [-3.0]]
    three = metrics.logit_diff(np.log(np.array([[1.0, 2.0, 5.0]])))
    np.testing.assert_allclose(three, np.log([[1 / 7, 2 / 6, 5 / 3]]))


@given(seeds, st.integers(2, 5), st.floats(-50, 50))
def test_logit_diff_ignores_a_common_shift_and_is_the_log_odds_of_softmax(seed, classes, shift):
    logits = np.random.default_rng(seed).normal(scale=3, size=(7, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    odds = np.log(probabilities / (1 - probabilities))
    np.testing.assert_allclose(metrics.logit_diff(logits + shift), odds[:, 1:] if classes == 2 else odds, atol=1e-9)


def test_predictions_take_the_largest_logit_and_the_lower_class_when_tied():
    assert metrics.predictions(np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])).tolist() == [1, 0, 0]


@given(seeds, st.integers(2, 4))
def test_recalls_agree_with_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, 20)]))
    predicted = rng.integers(0, classes, len(labels))
    recall = metrics.recalls(predicted, labels, classes)
    np.testing.assert_allclose(recall, [recall_score(labels == c, predicted == c) for c in range(classes)])
    assert metrics.balanced_accuracy(recall) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert ((recall >= 0) & (recall <= 1)).all()


def test_a_model_that_always_says_the_same_is_at_one_over_classes():
    labels = np.repeat(np.arange(4), 5)
    assert metrics.balanced_accuracy(metrics.recalls(np.full(20, 2), labels, 4)) == 0.25


def test_a_class_without_reviews_is_an_error():
    with pytest.raises(UndefinedError, match=r"\[2, 0\]"):
        metrics.recalls(np.array([0, 0]), np.array([0, 0]), 2)


def test_auc_by_hand():
    logit_diff = np.array([[0.0], [2.0], [1.0], [2.0]])  # pairs won: (1 > 0), (2 > 0), (2 = 2) half, of four
    assert metrics.auc(logit_diff, LABELS) == 2.5 / 4
    assert np.isnan(metrics.auc(logit_diff, np.zeros(4, dtype=int)))


@given(seeds, st.integers(2, 4), st.booleans())
def test_auc_agrees_with_scikit_learn(seed, classes, tied):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, 15)]))
    logit_diff = rng.normal(size=(len(labels), 1 if classes == 2 else classes))
    logit_diff = logit_diff.round() if tied else logit_diff
    expected = [
        roc_auc_score(labels == c, column) for c, column in enumerate(logit_diff.T, start=1 if classes == 2 else 0)
    ]
    assert metrics.auc(logit_diff, labels) == pytest.approx(np.mean(expected))


@given(seeds)
def test_auc_sees_order_only_and_turns_round_with_the_sign(seed):
    rng = np.random.default_rng(seed)
    logit_diff, labels = rng.normal(size=(12, 1)), np.repeat([0, 1], 6)
    assert metrics.auc(np.exp(logit_diff), labels) == pytest.approx(metrics.auc(logit_diff, labels))
    assert metrics.auc(-logit_diff, labels) == pytest.approx(1 - metrics.auc(logit_diff, labels))


def test_gap_and_mean_logit_diff_by_hand():
    logit_diff = np.array([[1.0], [3.0], [4.0], [8.0]])
    assert metrics.gap(logit_diff, LABELS) == 4.0
    assert metrics.mean_logit_diff(logit_diff).tolist() == [4.0]
    three = np.array([[3.0, 0.0, 0.0], [0.0, 5.0, 0.0], [1.0, 1.0, 1.0]])  # own minus mean of the others: 2.5, 4.5, 1
    assert metrics.gap(three, np.arange(3)) == pytest.approx((2.5 + 4.5 + 1) / 3)


@given(seeds, st.integers(2, 4))
def test_resampled_auc_and_gap_are_those_of_the_repeated_reviews(seed, classes):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 5)
    logit_diff = rng.normal(size=(len(labels), 1 if classes == 2 else classes)).round(1)
    counts = rng.integers(0, 3, size=(3, len(labels)))
    counts[:, ::5] += 1
    for draw, auc, gap in zip(
        counts, metrics.aucs(logit_diff, labels, counts), metrics.gaps(logit_diff, labels, counts), strict=True
    ):
        rows = np.repeat(np.arange(len(labels)), draw)
        assert auc == pytest.approx(metrics.auc(logit_diff[rows], labels[rows]))
        assert gap == pytest.approx(metrics.gap(logit_diff[rows], labels[rows]))
