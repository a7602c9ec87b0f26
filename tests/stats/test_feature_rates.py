"""Firing: counts by hand and against plain loops, tests against scipy one feature at a time, states and pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu

from backend.errors import UndefinedError
from backend.stats import feature_rates, metrics
from backend.stats.feature_rates import STATES


def some(seed: int = 0, reviews: int = 20, features: int = 9, k: int = 3) -> tuple[np.ndarray, ...]:
    """Tokens of reviews of unequal length, with k different features each, some of activation zero."""
    rng = np.random.default_rng(seed)
    review = np.repeat(np.arange(reviews), rng.integers(2, 7, size=reviews))
    index = np.stack([rng.permutation(features)[:k] for _ in review])
    value = np.maximum(rng.normal(0.5, 1.0, size=index.shape), 0.0).astype(np.float32)
    return review, index, value, rng.random(len(review)) < 0.8


def test_two_reviews_by_hand():
    review = np.array([0, 0, 1])
    index, value = np.array([[0, 1], [0, 2], [1, 0]]), np.array([[1.0, 0.0], [3.0, 2.0], [4.0, 5.0]])
    result = feature_rates.count(review, index, value, np.array([True, True, True]), 2, 4)
    assert result.tokens.tolist() == [2, 1]
    assert result.fired.tolist() == [[2, 0, 1, 0], [1, 1, 0, 0]]
    assert result.largest.tolist() == [[3, 0, 2, 0], [5, 4, 0, 0]]
    assert result.rate.tolist() == [1.0, 1 / 3, 1 / 3, 0.0]
    assert result.mean.tolist() == [3.0, 4 / 3, 2 / 3, 0.0]
    assert result.mean_when_firing[:3].tolist() == [3.0, 4.0, 2.0]
    assert np.isnan(result.mean_when_firing[3])


def test_counts_are_those_of_a_plain_loop():
    review, index, value, kept = some()
    result = feature_rates.count(review, index, value, kept, 20, 9)
    dense = np.zeros((len(review), 9))
    for t, (features, values) in enumerate(zip(index, value, strict=True)):
        for feature, one in zip(features, values, strict=True):
            dense[t, feature] = one
    for r in range(20):
        of_review = dense[(review == r) & kept]
        assert result.tokens[r] == len(of_review)
        assert result.fired[r].tolist() == (of_review > 0).sum(axis=0).tolist()
        assert result.largest[r] == pytest.approx(of_review.max(axis=0, initial=0.0))
    assert result.total == pytest.approx(dense[kept].sum(axis=0), rel=1e-6)


def test_nothing_kept_is_nothing_found():
    review, index, value, kept = some()
    result = feature_rates.count(review, index, value, np.zeros_like(kept), 20, 9)
    assert not result.rate.any() and np.isnan(result.mean_when_firing).all()


def test_the_interval_of_a_rate_counts_reviews():
    rng = np.random.default_rng(0)
    labels, tokens, covered, too_sure = np.arange(40) % 2, np.full(40, 50), 0, 0
    for _ in range(300):
        own = rng.uniform(0.4, 0.6, size=40)  # reviews differ in how often it fires before, and so do the changes
        change = rng.uniform(-0.25, 0.05, size=40)
        before, after = (
            feature_rates.FeatureRates(tokens, rng.binomial(50, rates)[:, None], np.zeros(1), np.zeros((40, 1)))
            for rates in (own, own + change)
        )
        _, low, high = feature_rates.rate_change(before, after, labels)
        covered += bool(low[0] <= -0.1 <= high[0])
        shares = np.array([one.rate[0] for one in (before, after)])
        half = 1.96 * np.sqrt((shares * (1 - shares)).sum() / 2000)  # as if the tokens were independent, and unpaired
        too_sure += bool(abs(shares[1] - shares[0] + 0.1) > half)
    assert 0.92 * 300 <= covered <= 0.98 * 300
    assert too_sure > 5


def test_the_change_is_that_of_the_rates():
    review, index, value, kept = some()
    before, after = (feature_rates.count(review, index, one, kept, 20, 9) for one in (value, np.roll(value, 3, axis=0)))
    change, low, high = feature_rates.rate_change(before, after, np.arange(20) % 2)
    assert change == pytest.approx(after.rate - before.rate)
    assert (low <= change).all() and (change <= high).all()
    nothing = feature_rates.rate_change(before, before, np.arange(20) % 2)
    assert not np.any(nothing)


def test_states_by_hand():
    before = np.array([0.1, 0.0, 0.1, 0.0005, 0.01, 0.0])
    after = np.array([0.05, 0.1, 0.001, 0.0009, 0.2, 0.002])
    change = after - before
    low, high = change - 0.003, change + 0.003
    result = [STATES[i] for i in feature_rates.states(before, after, low, high)]
    assert result == ["shared", "appeared", "vanished", "rare", "appeared", "shared"]  # the last one is not sure


@given(st.integers(0, 50))
def test_exchanging_the_models_exchanges_the_states(seed: int):
    rng = np.random.default_rng(seed)
    rates = 10 ** rng.uniform(-5, 0, size=(2, 30))
    change, half = rates[1] - rates[0], 0.01
    there = feature_rates.states(rates[0], rates[1], change - half, change + half)
    back = feature_rates.states(rates[1], rates[0], -change - half, -change + half)
    other = {"appeared": "vanished", "vanished": "appeared"}
    assert [other.get(STATES[i], STATES[i]) for i in there] == [STATES[i] for i in back]


def test_aucs_and_p_values_are_those_of_one_feature_at_a_time():
    review, index, value, kept = some(reviews=60)
    largest = feature_rates.count(review, index, value, kept, 60, 9).largest
    labels = np.arange(60) % 2
    auc, p = feature_rates.tell_apart(largest, labels, 2)
    for feature, values in enumerate(largest.T):
        assert auc[0, feature] == pytest.approx(metrics.auc(values[:, None], labels))
        test = mannwhitneyu(values[labels == 1], values[labels == 0], method="asymptotic")
        assert p[0, feature] == pytest.approx(test.pvalue)


def test_each_of_three_classes_is_scored_against_the_rest():
    largest = np.zeros((9, 3))
    labels = np.arange(9) % 3
    largest[labels == 2, 0] = 1.0
    largest[:, 1] = np.random.default_rng(0).random(9)
    auc, p = feature_rates.tell_apart(largest, labels, 3)
    assert auc.shape == (3, 3)
    assert auc[:, 0].tolist() == [0.25, 0.25, 1.0]
    assert auc[:, 1].mean() == pytest.approx(0.5)  # which is why there is no mean over classes
    assert np.isnan(auc[:, 2]).all() and np.isnan(p[:, 2]).all()  # it never fires


def test_p_values_are_close_to_those_of_permutations():
    rng = np.random.default_rng(1)
    labels = np.arange(200) % 2
    values = np.where(rng.random(200) < 0.3 + 0.12 * labels, rng.random(200), 0.0)
    _, p = feature_rates.tell_apart(values[:, None], labels, 2)
    result = metrics.auc(values[:, None], labels)
    null = np.array([metrics.auc(values[:, None], rng.permutation(labels)) for _ in range(4000)])
    assert p[0, 0] == pytest.approx(np.mean(np.abs(null - 0.5) >= abs(result - 0.5) - 1e-12), abs=0.03)


def test_a_class_without_reviews_is_an_error():
    with pytest.raises(UndefinedError):
        feature_rates.tell_apart(np.ones((4, 2)), np.zeros(4, dtype=np.int64), 2)


def test_q_values_are_benjamini_and_hochbergs():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    q = feature_rates.false_discovery(p)
    assert np.isnan(q[2])
    by_hand = [0.02, 0.04, 0.04, 0.02]  # p times 4 over its rank, made monotone from the largest down
    assert q[[0, 1, 3, 4]] == pytest.approx(by_hand)
    assert np.isnan(feature_rates.false_discovery(np.full(3, np.nan))).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_values_are_no_smaller_than_p_and_keep_their_order(p: list[float]):
    q = feature_rates.false_discovery(np.array(p))
    assert (q >= np.array(p) - 1e-12).all() and (q <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(q[order]) >= -1e-12).all()


def test_no_signal_makes_few_discoveries():
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    result = 0
    for _ in range(40):
        largest = rng.random((100, 50)) * (rng.random((100, 50)) < 0.3)
        result += bool((feature_rates.false_discovery(feature_rates.tell_apart(largest, labels, 2)[1]) <= 0.05).any())
    assert result <= 6  # 5 % of 40 are 2


def test_the_same_rows_in_another_order_are_found_again():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 80))
    here, there = feature_rates.pair(rows, 3 * rows[rng.permutation(6)])
    assert here == pytest.approx(np.ones(6)) and there == pytest.approx(np.ones(6))
    here, there = feature_rates.pair(rows, np.concatenate([rows[:4], rng.normal(size=(3, 80))]))
    assert here[:4] == pytest.approx(np.ones(4))
    assert len(there) == 7 and np.isnan(there).sum() == 1


def test_pairs_are_those_of_scipy():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    cosines = metrics.cosine(a[:, None], b[None])
    rows, columns = linear_sum_assignment(-cosines)
    assert feature_rates.pair(a, b)[0] == pytest.approx(cosines[rows, columns])
