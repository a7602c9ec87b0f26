"""Paired intervals: published cases, plain loops, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.stats import intervals, metrics, paired


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.repeat([True, True, False, False], [both, first, second, neither]),
        np.repeat([True, False, True, False], [both, first, second, neither]),
    )


def test_a_published_interval_of_a_paired_difference():
    """Newcombe 1998, Statistics in Medicine 17, method 10."""
    assert paired.difference_of_proportions(*pairs(20, 12, 2, 16)) == pytest.approx((0.0562, 0.3292), abs=5e-5)


right = arrays(bool, st.shared(st.integers(1, 40), key="n"))


@given(first=right, second=right)
def test_a_paired_difference_is_inside_its_interval_and_turns_around(first: np.ndarray, second: np.ndarray):
    low, high = paired.difference_of_proportions(first, second)
    assert -1 - 1e-9 <= low <= first.mean() - second.mean() <= high <= 1 + 1e-9
    assert paired.difference_of_proportions(second, first) == pytest.approx((-high, -low))


def test_pairing_narrows_what_agrees():
    first, second = pairs(80, 3, 1, 16)
    low, high = paired.difference_of_proportions(first, second)
    alone = intervals.mover(
        np.array([0.83, 0.81]), *intervals.wilson(np.array([83, 81]), np.array([100, 100])), np.array([1.0, -1.0])
    )
    assert high - low < 0.6 * float(alone[1] - alone[0])
    low, high = paired.difference_of_proportions(first, first)
    assert low < 0 < high  # no review changed its answer, and one of another sample might


def test_paired_differences_cover():
    """Two readouts right on 92 and 86 % of reviews, usually the same ones."""
    rng = np.random.default_rng(0)
    hits, n, times = 0, 60, 1500
    for _ in range(times):
        easy = rng.random(n) < 0.8
        first, second = easy | (rng.random(n) < 0.6), easy | (rng.random(n) < 0.3)
        low, high = paired.difference_of_proportions(first, second)
        hits += low <= 0.2 * 0.3 <= high
    assert 0.935 < hits / times < 0.985


@pytest.mark.parametrize("classes", [2, 3])
def test_accuracy_lost_is_the_mean_over_classes(classes: int):
    rng = np.random.default_rng(1)
    labels = np.arange(90) % classes
    before, after = (np.where(rng.random(90) < share, labels, (labels + 1) % classes) for share in (0.9, 0.7))
    lost, low, high = paired.accuracy_lost(before, after, labels, classes).ends
    by_class = [np.mean(before[labels == c] == c) - np.mean(after[labels == c] == c) for c in range(classes)]
    assert lost == pytest.approx(np.mean(by_class))
    assert low < lost < high
    wide = [paired.difference_of_proportions(before[labels == c] == c, after[labels == c] == c) for c in range(classes)]
    assert high - lost == pytest.approx(
        np.sqrt(sum((limits[1] - d) ** 2 for limits, d in zip(wide, by_class, strict=True))) / classes
    )


def logit_diffs(rng: np.random.Generator, n: int, directions: int = 1) -> tuple[np.ndarray, ...]:
    """Host, donor and half of the way between them, over shared reviews; gaps 1, 3 and 2 for two classes."""
    labels = np.arange(n) % 2
    side = np.where(labels == 1, 1.0, -1.0)[:, None]
    common = rng.normal(size=(n, directions))
    host = 0.5 * side + common + 0.2 * rng.normal(size=common.shape)
    donor = 1.5 * side + 1.5 * common + 0.2 * rng.normal(size=common.shape)
    return labels, host, donor, (host + donor) / 2 + 0.1 * rng.normal(size=common.shape)


def test_recovered_is_between_host_and_donor_in_both_directions():
    labels, host, donor, middle = logit_diffs(np.random.default_rng(2), 80)
    swapped = np.stack([host, donor, middle])
    for one, other, expected in ((host, donor, [0, 1]), (donor, host, [1, 0])):
        value, low, high = paired.fraction_recovered(swapped, one, other, labels).ends
        np.testing.assert_allclose(value[:2], expected, atol=1e-12)
        np.testing.assert_allclose(low[:2], expected, atol=1e-12)  # paired: host and donor are sure
        gaps = [metrics.gap(logit_diff, labels) for logit_diff in (one, other, middle)]
        assert value[2] == pytest.approx((gaps[2] - gaps[0]) / (gaps[1] - gaps[0]))
        assert low[2] < value[2] < high[2]
        assert high[2] - low[2] < 0.2  # paired; the gaps alone are known to about 0.4 of 2


def test_nothing_is_recovered_where_host_and_donor_do_not_differ():
    labels, host, _, middle = logit_diffs(np.random.default_rng(3), 40)
    donor = host + 0.5 * np.random.default_rng(4).normal(size=host.shape)
    value, low, high = paired.fraction_recovered(np.stack([middle, host]), host, donor, labels).ends
    assert np.isnan([*value, *low, *high]).all()
    assert len(value) == 2


def test_recovered_agrees_with_a_plain_loop():
    labels, host, donor, middle = logit_diffs(np.random.default_rng(5), 50)
    _, low, high = paired.fraction_recovered(middle[None], host, donor, labels, draws=4000).ends
    rng, drawn = np.random.default_rng(6), []
    for _ in range(4000):
        rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), 25) for c in (0, 1)])
        g = [one[rows][labels[rows] == 1].mean() - one[rows][labels[rows] == 0].mean() for one in (host, donor, middle)]
        drawn.append((g[2] - g[0]) / (g[1] - g[0]))
    np.testing.assert_allclose([low[0], high[0]], np.quantile(drawn, [0.025, 0.975]), atol=0.01)


def test_recovered_covers():
    rng, hits, times = np.random.default_rng(7), 0, 300
    for _ in range(times):
        labels, host, donor, middle = logit_diffs(rng, 60)
        _, low, high = paired.fraction_recovered(middle[None], host, donor, labels, draws=300).ends
        hits += low[0] <= 0.5 <= high[0]
    assert 0.9 < hits / times < 0.985
