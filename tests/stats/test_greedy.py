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


class Crossed:
    """Parts that help or hinder each other, so that a set's gap is no sum of its parts'."""

    def __init__(self, parts: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.each = rng.normal(0.4, 0.6, (parts, 1)) * SIGN[:, 0] + rng.normal(size=(parts, 60))
        self.both = rng.normal(0, 0.8, (parts, parts)) / 2

    def one(self, chosen: Sequence[int]) -> np.ndarray:
        inside = np.isin(np.arange(len(self.each)), list(chosen))
        return (self.each[inside].sum(axis=0) + inside @ self.both @ inside * SIGN[:, 0])[:, None]

    def __call__(self, sets: Sequence[tuple[int, ...]]) -> Mapping[tuple[int, ...], np.ndarray]:
        return {one: self.one(one) for one in sets}


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_sets_are_those_of_a_plain_loop(seed: int):
    parts, world = 6, Crossed(6, seed)
    plain, full = world.one([]), 3 * SIGN
    fold = greedy.folds_of(LABELS, 3, 7).tolist()

    def gap(values: list[float], rows: list[int]) -> float:
        classes = [[values[i] for i in rows if LABELS[i] == c] for c in (0, 1)]
        return sum(classes[1]) / len(classes[1]) - sum(classes[0]) / len(classes[0])

    def grown(rows: list[int], size: int) -> list[int]:
        chosen: list[int] = []
        for _ in range(size):
            left = [i for i in range(parts) if i not in chosen]
            chosen.append(max(left, key=lambda i: gap(world.one([*chosen, i])[:, 0].tolist(), rows)))
        return chosen

    everything = list(range(60))
    start, end = (gap(one[:, 0].tolist(), everything) for one in (plain, full))
    expected: list[float] = []
    for size in range(1, parts + 1):
        judged = [0.0] * 60
        for f in range(3):
            chosen = grown([i for i in everything if fold[i] != f], size)
            for i in everything:
                if fold[i] == f:
                    judged[i] = float(world.one(chosen)[i, 0])
        expected.append((gap(judged, everything) - start) / (end - start))
        if expected[-1] >= 0.9:
            break
    found = greedy.search(world, parts, (plain, full), LABELS, 0.9, seed=7)
    assert list(found.chosen) == grown(everything, len(expected))
    np.testing.assert_allclose(found.kept.value, expected, rtol=1e-9)
    for share in (0.2, 0.5):
        size = next((size for size, kept in enumerate(expected, 1) if kept >= share), None)
        assert found.smallest(share) == (None if size is None else tuple(sorted(grown(everything, size))))
