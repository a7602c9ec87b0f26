"""Topics of positions x tokens: planted ones are found, again in halves, and shuffled ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from backend.stats import topics


def planted(positions: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three topics of six tokens each: tokens, values, texts and the topic of every position."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, positions, p=[0.6, 0.3, 0.1])
    token = np.stack([rng.permutation(np.arange(6) + 10 * k)[:4] for k in which])
    value = rng.gamma(4, 0.25, token.shape)
    return token, value, np.arange(positions) // 8, which


def test_planted_topics_are_found_with_their_positions():
    token, value, _, which = planted()
    found = topics.factorize(token, value, 40, 3, 0)
    for k in range(3):  # sizes fall
        assert set(np.argsort(-found.tokens[k])[:6]) == set(range(10 * k, 10 * k + 6))
    assert (found.positions.argmax(axis=1) == which).mean() > 0.99
    assert found.share.sum() == pytest.approx(1) and (np.diff(found.share) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.tokens, axis=1), 1)


def test_the_factorization_is_close_to_the_matrix():
    token, value, _, _ = planted()
    found = topics.factorize(token, value, 40, 12, 0)
    dense = np.zeros((len(token), 40))
    np.put_along_axis(dense, token, np.sqrt(value), axis=1)
    error = np.linalg.norm(dense - found.positions @ found.tokens) / np.linalg.norm(dense)
    coarse = topics.factorize(token, value, 40, 1, 0)
    assert error < np.linalg.norm(dense - coarse.positions @ coarse.tokens) / np.linalg.norm(dense)


def test_stable_topics_exceed_chance_and_shuffled_ones_do_not():
    token, value, text, _ = planted()
    stable, chance = topics.stability(topics.factorize(token, value, 40, 3, 0), token, value, text, 0)
    assert (stable > 0.9).all() and chance < 0.9
    shuffled = np.random.default_rng(1).permutation(token.ravel()).reshape(token.shape)
    random, level = topics.stability(topics.factorize(shuffled, value, 40, 3, 0), shuffled, value, text, 0)
    assert random.min() < 0.9 and level < 1


def test_too_few_tokens_give_no_topic():
    found = topics.factorize(np.zeros((5, 2), int), np.ones((5, 2)), 9, 3, 0)
    stable, chance = topics.stability(found, np.zeros((5, 2), int), np.ones((5, 2)), np.arange(5), 0)
    assert found.share.shape == stable.shape == (0,) and np.isnan(chance)


def test_passages_are_of_different_texts():
    weights, text = np.array([0.5, 0.9, 0.8, 0.0, 0.7]), np.array([0, 1, 1, 2, 3])
    assert topics.passages(weights, text, 3) == [1, 4, 0]
    assert topics.passages(weights, text, 9) == [1, 4, 0]


def plain_nmf(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinate descent in plain numpy: start from singular vectors, zeros filled with the mean, then alternate."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    w, h = np.zeros((len(matrix), count)), np.zeros((count, matrix.shape[1]))
    for k in range(count):
        pairs = [(np.maximum(sign * left[:, k], 0), np.maximum(sign * right[k], 0)) for sign in (1, -1)]
        x, y = max(pairs, key=lambda pair: np.linalg.norm(pair[0]) * np.linalg.norm(pair[1]))
        size = values[k] * np.linalg.norm(x) * np.linalg.norm(y)
        w[:, k], h[k] = np.sqrt(size) * x / np.linalg.norm(x), np.sqrt(size) * y / np.linalg.norm(y)
    w[w < 1e-6], h[h < 1e-6] = matrix.mean(), matrix.mean()
    moved: list[float] = []
    while len(moved) < 200 and (len(moved) < 2 or moved[-1] > 1e-3 * moved[0]):
        total = 0.0
        for a, b, target in ((w, h.T, matrix), (h.T, w, matrix.T)):  # h.T is a view, so h follows
            inner, outer = b.T @ b, target @ b
            for k in range(count):
                slope = a @ inner[:, k] - outer[:, k]
                total += np.abs(np.where(a[:, k] == 0, np.minimum(slope, 0), slope)).sum()
                a[:, k] = np.maximum(a[:, k] - slope / inner[k, k], 0)
        moved.append(total)
    return w, h


@pytest.mark.parametrize("count", [3, 4])
def test_topics_are_those_of_a_plain_factorization(count: int):
    token, value, _, _ = planted(positions=300, seed=3)
    rng = np.random.default_rng(4)
    token[:, -1], value[:, -1] = rng.integers(30, 37, len(token)), 0.3 * value[:, -1]  # tokens of no topic
    token[:2, -1] = 38  # too rare
    found = topics.factorize(token, value, 40, count, 0)
    matrix, positions = np.zeros((len(token), 40)), np.zeros(40)
    for row in range(len(token)):
        for one, much in zip(token[row], value[row], strict=True):
            matrix[row, one] += much**0.5
            positions[one] += 1
    kept = positions >= 3
    w, h = plain_nmf(matrix[:, kept] * (np.log(len(token) / positions[kept]) + 1e-3), count)
    size = np.array([(w[:, [k]] * h[k]).sum() for k in range(count)])
    order = np.argsort(-size)
    expected = np.zeros((count, 40))
    expected[:, kept] = h[order] / np.linalg.norm(h[order], axis=1, keepdims=True)
    assert not kept[38] and expected.any(axis=1).all()
    np.testing.assert_allclose(found.tokens, expected, atol=1e-3)
    np.testing.assert_allclose(found.share, size[order] / size.sum(), atol=1e-3)
    scaled = w[:, order] * np.linalg.norm(h[order], axis=1)
    np.testing.assert_allclose(found.positions, scaled, atol=1e-3 * scaled.max())
    half = topics.factorize(token[::2], value[::2], 40, count, 0)
    cosines = [max(float(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for b in half.tokens) for a in expected]
    np.testing.assert_allclose(topics.likeness(found, half), np.minimum(cosines, 1), atol=2e-3)
