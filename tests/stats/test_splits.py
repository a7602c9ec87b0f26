"""How reviews are split: copies stay together, classes stay in proportion, and nothing changes without copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from backend.errors import UndefinedError
from backend.stats import intervals, metrics, splits

FOUR_TIMES = np.tile(np.arange(30), 4)
"""Thirty texts, each four times."""


def test_reviews_that_share_a_text_or_a_prompt_are_one_group():
    texts = ["a", "b", "a", "c", "d", "e"]
    prompts = [(1,), (2,), (3,), (2,), (3,), (9,)]
    result = splits.groups(texts, prompts)
    assert result is not None and result.tolist() == [0, 1, 0, 1, 0, 5], "a and d share a prompt through the second a"
    assert splits.groups(["a", "b"], [(1,), (2,)]) is None
    assert splits.repeated(result) == 3 and splits.repeated(None) == 0


def test_texts_under_two_labels_are_counted_once_for_each_class():
    groups, labels = np.array([0, 0, 2, 2, 4, 5]), np.array([0, 1, 1, 1, 0, 1])
    assert splits.contradicting(labels, groups) == 1 and splits.contradicting(labels, None) == 0
    assert splits.fewest(labels, groups) == 2
    assert splits.fewest(np.array([0, 0, 1]), None) == 1


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=30, max_size=60), st.integers(0, 99))
def test_no_split_tears_copies_apart(rows: list[tuple[int, int]], seed: int):
    texts, labels = (np.array(column) for column in zip(*rows, strict=True))
    groups = splits.groups(texts.tolist())
    if groups is None or splits.fewest(labels, groups) < 4 or len(np.unique(labels)) < 2:
        return
    for half in splits.half_splits(labels, 2, 3, seed, groups):
        assert not set(texts[half]) & set(texts[~half])
    try:
        result = splits.folds(labels, groups, 5, seed)
    except UndefinedError:
        return
    assert sorted(np.concatenate([test for _, test in result])) == list(range(len(labels)))
    for train, test in result:
        assert not set(texts[train]) & set(texts[test])


def test_folds_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    for groups, plain in ((None, StratifiedKFold), (FOUR_TIMES, StratifiedGroupKFold)):
        expected = plain(5, shuffle=True, random_state=3).split(labels, labels, groups)
        for (train, test), (their_train, their_test) in zip(splits.folds(labels, groups, 5, 3), expected, strict=True):
            np.testing.assert_array_equal(train, their_train)
            np.testing.assert_array_equal(test, their_test)


def test_a_class_with_a_single_text_cannot_be_split():
    groups, labels = np.array([0, 0, 0, 3, 4, 5]), np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(UndefinedError, match="too few different texts"):
        splits.folds(labels, groups, 5, 0)
    half = splits.half_splits(labels, 2, 1, 0, groups)[0]
    assert half[:3].all() or not half[:3].any()


def test_half_splits_share_every_class_in_two():
    labels = np.repeat([0, 1], [6, 7])
    halves = splits.half_splits(labels, 2, 200, seed=3)
    assert (halves[:, :6].sum(axis=1) == 3).all()
    assert set(halves[:, 6:].sum(axis=1)) == {3, 4}
    np.testing.assert_allclose(halves.mean(axis=0), 0.5, atol=0.15)
    assert (halves != splits.half_splits(labels, 2, 200, seed=4)).any()


def test_halves_of_copies_are_as_random_and_as_equal():
    labels = np.tile(np.arange(30) % 2, 4)
    halves = splits.half_splits(labels, 2, 200, 3, FOUR_TIMES)
    for c in (0, 1):
        assert set(halves[:, labels == c].sum(axis=1)) <= {28, 32}, "fifteen texts of four: seven or eight in a half"
    np.testing.assert_allclose(halves.mean(axis=0), 0.5, atol=0.15)
    assert len(np.unique(halves, axis=0)) > 190


def copied(seed: int, classes: int = 2, texts: int = 45, copies: int = 4):
    rng = np.random.default_rng(seed)
    labels = np.arange(texts) % classes
    base = rng.normal(size=(texts, 3, 6))
    base[np.arange(texts), :, labels] += 2.0
    checkpoint = base + 0.5 * rng.normal(size=base.shape)
    return [np.tile(x, (copies, 1, 1)) for x in (base, checkpoint)], np.tile(labels, copies), np.arange(texts)


@pytest.mark.parametrize("classes", [2, 3])
def test_copies_add_nothing_to_a_split_cosine_nor_to_its_interval(classes: int):
    """Each text four times says what each text once says; torn apart, the copies would make it surer."""
    (base, checkpoint), labels, once = copied(0, classes)
    groups = np.tile(once, 4)
    one = metrics.split_cosine(base[once], checkpoint[once], labels[once], classes, splits=3000)
    four = metrics.split_cosine(base, checkpoint, labels, classes, splits=300, groups=groups)
    np.testing.assert_allclose(four, one, atol=0.02)
    low, high = intervals.split_cosine_interval(base[once], checkpoint[once], labels[once], classes)
    low_four, high_four = intervals.split_cosine_interval(base, checkpoint, labels, classes, groups=groups)
    np.testing.assert_allclose(high_four - low_four, high - low, rtol=1e-6)
    low_torn, high_torn = intervals.split_cosine_interval(base, checkpoint, labels, classes)
    assert (high_torn - low_torn < 0.7 * (high - low)).all()


def test_texts_of_one_review_each_are_left_out_like_reviews():
    (base, checkpoint), labels, once = copied(1, 3, copies=1)
    plain = intervals.split_cosine_interval(base, checkpoint, labels, 3)
    grouped = intervals.split_cosines_without(base, checkpoint, labels, 3, once)
    np.testing.assert_allclose(grouped, intervals.split_cosines_without(base, checkpoint, labels, 3), rtol=1e-9)
    assert np.isfinite(plain[0]).all()


def test_a_split_cosine_of_contradicting_copies_leaves_out_whole_texts():
    (base, checkpoint), labels, once = copied(2, copies=2)
    labels[45:50] = 1 - labels[45:50]
    groups = np.tile(once, 2)
    low, high = intervals.split_cosine_interval(base, checkpoint, labels, 2, groups=groups)
    assert (low < high).all()

    def limit(kept: np.ndarray) -> np.ndarray:
        products = []
        for x, y in ((base, base), (checkpoint, checkpoint), (base, checkpoint)):
            mean = [[np.mean([x[i, 1] @ y[j, 1] for i in kept for j in kept if groups[i] != groups[j]
                              and labels[i] == a and labels[j] == b]) for b in (0, 1)] for a in (0, 1)]  # fmt: skip
            products.append(mean[0][0] + mean[1][1] - mean[0][1] - mean[1][0])
        return products[2] / np.sqrt(products[0] * products[1])

    base, checkpoint = (x - x.mean(axis=0) for x in (base, checkpoint))
    result = intervals.split_cosines_without(base, checkpoint, labels, 2, groups)
    assert result[7, 0, 1] == pytest.approx(limit(np.flatnonzero(groups != 7)), rel=1e-9)
