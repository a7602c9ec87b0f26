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
