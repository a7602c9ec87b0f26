"""Greedy sets on additive parts: the right ones in order, held-out shares, and no flattery without a gain in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from backend.stats import greedy, metrics

LABELS = np.arange(60) % 2
SIGN = (2.0 * LABELS - 1)[:, None]


class Additive:
    """Every part adds a fixed gain, and noise of its own, to each review."""

    def __init__(self, gains: Sequence[float], noise: float = 0.0) -> None:
        rng = np.random.default_rng(0)
        self.plain = rng.normal(size=(60, 1))
        self.parts = [gain / 2 * SIGN + noise * rng.normal(size=(60, 1)) for gain in gains]
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, sets: Sequence[tuple[int, ...]]) -> Mapping[tuple[int, ...], np.ndarray]:
        self.asked += sets
        return {one: self.plain + sum((self.parts[i] for i in one), np.zeros((60, 1))) for one in sets}

    @property
    def full(self) -> np.ndarray:
        return self.plain + np.sum(self.parts, axis=0)


def test_the_largest_parts_come_first_and_the_search_stops():
    world = Additive([0.1, 3.0, 0.1, 1.0, 0.1])
    path = greedy.search(world, 5, (world.plain, world.full), LABELS, 0.9)
    assert path.chosen == (1, 3)
    np.testing.assert_allclose(path.kept.value, [3 / 4.3, 4 / 4.3], rtol=1e-9)
    assert path.smallest(0.9) == (1, 3) and path.smallest(0.99) is None
    assert len(set(world.asked)) == len(world.asked) == 5 + 4


def test_held_out_shares_are_not_flattered():
    world = Additive([0.0] * 12, noise=1.0)
    full = world.plain + SIGN  # a gain that no part brings
    path = greedy.search(world, 12, (world.plain, full), LABELS, 0.9)
    chosen = metrics.gap(world([path.chosen[:1]])[path.chosen[:1]], LABELS) - metrics.gap(world.plain, LABELS)
    assert path.kept.value[0] < chosen / 2  # what the best part seems to bring on its own reviews


def test_folds_are_stratified_and_intervals_hold_the_value():
    fold = greedy.folds_of(LABELS, 3, 0)
    assert [int((fold[c == LABELS] == f).sum()) for c in (0, 1) for f in range(3)] == [10] * 6
    world = Additive([1.0, 0.5, 0.2], noise=0.3)
    kept = greedy.search(world, 3, (world.plain, world.full), LABELS, 2.0).kept
    assert len(kept.value) == 3 and (kept.low <= kept.value).all() and (kept.value <= kept.high).all()
    assert kept.value[-1] == pytest.approx(1)
