"""Intervals and chance levels: by hand, bounds, references, and a small seeded version of benchmarks/intervals.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, pearsonr

from backend.errors import UndefinedError
from backend.stats import intervals, metrics
from benchmarks import intervals as simulated

seeds = st.integers(0, 2**32 - 1)
SIMULATIONS = 300
"""Coverage is then known to about 1.3 %, so the bounds below are those of the contract and 4 % more."""


def sample(seed: int, classes: int = 2, per_class: int = 8, layers: int = 3, width: int = 5, signal: float = 1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), per_class))
    residuals = rng.normal(size=(len(labels), layers, width)) + signal * rng.normal(size=(classes, 1, width))[labels]
    return residuals.astype(np.float32), labels


# proportions


def test_wilson_by_hand():
    low, high = intervals.wilson(np.array([0, 10, 0]), np.array([10, 10, 0]))
    z2 = 1.959964**2
    np.testing.assert_allclose(low, [0, 10 / (10 + z2), np.nan], rtol=1e-6)
    np.testing.assert_allclose(high, [z2 / (10 + z2), 1, np.nan], rtol=1e-6)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_agrees_with_scipy(n, share):
    successes = round(share * n)
    low, high = intervals.wilson(np.array(successes), np.array(n))
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mover_by_hand():
    """Newcombe 1998, Statistics in Medicine 17, table II, method 10: 56/70 - 48/80 is 0.0524 to 0.3339."""
    successes, n = np.array([56, 48]), np.array([70, 80])
    low, high = intervals.mover(successes / n, *intervals.wilson(successes, n), np.array([1.0, -1.0]))
    assert (float(low), float(high)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_mover_of_symmetric_limits_adds_variances():
    low, high = intervals.mover(np.array([1.0, 5.0]), np.array([-2.0, 1.0]), np.array([4.0, 9.0]), np.array([1.0, 1.0]))
    assert (float(low), float(high)) == (1.0, 11.0)  # halves 3 and 4 make 5


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=2, max_size=5))
def test_balanced_accuracy_stays_within_its_range_and_holds_its_estimate(parts):
    sizes = np.array([n for _, n in parts])
    recalls = np.array([round(share * n) for share, n in parts]) / sizes
    low, high = intervals.balanced_accuracy_interval(recalls, sizes)
    assert 0 <= low <= recalls.mean() + 1e-12
    assert recalls.mean() - 1e-12 <= high <= 1
    assert low < high


def test_perfect_and_zero_recalls_have_one_sided_intervals():
    sizes = np.array([30, 30])
    low, high = intervals.balanced_accuracy_interval(np.ones(2), sizes)
    assert (high, 0.9 < low < 1) == (1.0, True)
    assert intervals.balanced_accuracy_interval(np.zeros(2), sizes) == pytest.approx((0.0, 1 - low))
    mixed = intervals.balanced_accuracy_interval(np.array([1.0, 0.0]), sizes)
    assert mixed[0] < 0.5 < mixed[1]


# means, AUC, gap


def test_resamples_keep_the_class_sizes():
    labels = np.array([0, 1, 1, 0, 2, 1])
    counts = intervals.bootstrap_counts(labels, 500, seed=1)
    for c, n in enumerate((2, 3, 1)):
        assert (counts[:, labels == c].sum(axis=1) == n).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.15)
    assert (counts == intervals.bootstrap_counts(labels, 500, seed=1)).all()


def test_the_mean_and_the_gap_have_about_their_textbook_intervals():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    logit_diff = rng.normal(size=(400, 1)) + labels[:, None]
    of_class = [logit_diff[labels == c, 0].std() / np.sqrt(200) for c in (0, 1)]
    half = 1.96 * np.hypot(*of_class)
    low, high = intervals.gap_interval(logit_diff, labels, draws=4000)
    assert (low, high) == pytest.approx(
        (metrics.gap(logit_diff, labels) - half, metrics.gap(logit_diff, labels) + half), abs=0.02
    )
    low, high = intervals.mean_interval(logit_diff, labels, draws=4000)
    np.testing.assert_allclose(
        (low[0], high[0]), (logit_diff.mean() - half / 2, logit_diff.mean() + half / 2), atol=0.01
    )


def test_auc_by_newcombe():
    """Newcombe 2006, Statistics in Medicine 25, method 5, solved here by its equation."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [30, 40])
    logit_diff = rng.exponential(size=(70, 1)) * (1 + 2.0 * labels[:, None])
    auc = metrics.auc(logit_diff, labels)
    drawn = metrics.aucs(logit_diff, labels, intervals.bootstrap_counts(labels, 1000, 0)).var()

    def variance(a: float) -> float:
        return a * (1 - a) / (30 * 40) * (1 + 34 * (1 - a) / (2 - a) + 34 * a / (1 + a))

    ratio = drawn / variance(auc)
    assert 2 / 3 < ratio < 3 / 2
    for end in intervals.auc_interval(logit_diff, labels):
        assert (end - auc) ** 2 == pytest.approx(1.959964**2 * ratio * variance(end), rel=1e-4)


@pytest.mark.parametrize("columns", [1, 3])
def test_a_perfect_auc_still_has_an_interval(columns):
    labels = np.repeat(np.arange(max(2, columns)), 20)
    logit_diff = (labels[:, None] == np.arange(columns)).astype(float) if columns > 1 else labels[:, None].astype(float)
    low, high = intervals.auc_interval(logit_diff, labels)
    assert 0.7 < low < 0.99
    assert high == 1.0
    assert np.isnan(intervals.auc_interval(logit_diff, np.zeros_like(labels))).all()


# pairs


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = np.array([1.0, 4.0, 4.0, 7.0, 9.0])
    low, high = intervals.jackknife(lambda kept: values[kept].mean(), np.zeros(5, dtype=int))
    half = 2.776445 * values.std(ddof=1) / np.sqrt(5)  # Student's t, 4 degrees of freedom
    assert (float(low), float(high)) == pytest.approx((5 - half, 5 + half))


def test_the_jackknife_of_a_difference_of_means_is_welch_s():
    values, labels = np.array([1.0, 3.0, 8.0, 2.0, 4.0]), np.array([0, 0, 0, 1, 1])
    difference = lambda kept: values[kept][labels[kept] == 0].mean() - values[kept][labels[kept] == 1].mean()  # noqa: E731
    low, high = intervals.jackknife(difference, labels)
    half = 3.182446 * np.sqrt(values[:3].var(ddof=1) / 3 + values[3:].var(ddof=1) / 2)
    assert float(high - low) / 2 == pytest.approx(half)


def test_the_jackknife_of_a_correlation_is_near_fisher_s():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    low, high = intervals.jackknife(lambda kept: np.asarray(pearsonr(*x[kept].T)[0]), np.zeros(300, dtype=int))
    fisher = pearsonr(*x.T).confidence_interval()
    assert (float(low), float(high)) == pytest.approx((fisher.low, fisher.high), abs=0.02)


@pytest.mark.parametrize("classes", [2, 3])
def test_split_cosine_without_a_review_agrees_with_leaving_it_out(classes):
    base, labels = sample(1, classes, signal=3.0)
    checkpoint = base + sample(1, classes)[0]

    def limit(kept: np.ndarray) -> np.ndarray:
        t = [
            metrics.unbiased_squared_norm(x[kept], labels[kept], classes) for x in (base, checkpoint, base + checkpoint)
        ]
        return (t[2] - t[0] - t[1]) / 2 / np.sqrt(t[0] * t[1])

    low, high = intervals.split_cosine_interval(base, checkpoint, labels, classes, splits=50)
    expected_low, expected_high = intervals.jackknife(limit, labels)
    np.testing.assert_allclose(high - low, expected_high - expected_low, rtol=1e-3)
    np.testing.assert_allclose((low + high) / 2, metrics.split_cosine(base, checkpoint, labels, classes), rtol=1e-6)
    assert np.isnan(intervals.split_cosine_interval(base[:2], checkpoint[:2], np.array([0, 1]), 2)).all()


# directions


def test_the_norm_along_one_dimension_has_about_the_t_interval():
    """In one dimension the direction is a difference of means, whose interval everybody knows."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 40)
    x = rng.normal(size=(80, 1, 1)) + 2.0 * labels[:, None, None]
    values = [x[labels == c].ravel() for c in (0, 1)]
    half = 1.99 * np.sqrt(values[0].var(ddof=1) / 40 + values[1].var(ddof=1) / 40)
    low, high = intervals.norm_interval(x, labels, 2, draws=4000)
    difference = values[1].mean() - values[0].mean()
    assert (low.item(), high.item()) == pytest.approx((difference - half, difference + half), abs=0.04)


def test_with_much_signal_it_is_the_basic_bootstrap_recentred_with_the_plug_in():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 100)
    x = rng.normal(size=(200, 1, 20)) * np.linspace(2, 0.2, 20)
    x[labels == 1, :, :3] += 20.0
    low, high = intervals.norm_interval(x, labels, 2)
    basic_low, basic_high = simulated.basic(x, labels, 1000, seed=0)
    centre, half = metrics.norm_unbiased(x, labels, 2).item(), (basic_high - basic_low).item() / 2
    assert (low.item(), high.item()) == pytest.approx((basic_low.item(), basic_high.item()), abs=0.1 * half)
    assert low.item() < centre < high.item()


@given(seeds, st.integers(2, 3), st.floats(0.01, 100))
@settings(max_examples=20)
def test_direction_intervals_keep_their_bounds_and_their_units(seed, classes, scale):
    residuals, labels = sample(seed, classes)
    result = intervals.direction_intervals(residuals, labels, classes, draws=100)
    scaled = intervals.direction_intervals(scale * residuals.astype(np.float64), labels, classes, draws=100)
    for name, power in (("norm", 1), ("relative", 0), ("separation", 0)):
        low, high = getattr(result, name)
        assert (low >= 0).all()
        assert (low <= high).all()
        for limit, of_scaled in zip((low, high), getattr(scaled, name), strict=True):
            np.testing.assert_allclose(of_scaled, scale**power * limit, rtol=1e-4, atol=1e-5 * scale**power)
    assert (result.norm[1] >= metrics.norm_unbiased(residuals, labels, classes) - 1e-9).all()


@given(seeds)
@settings(max_examples=20)
def test_the_order_of_reviews_and_a_shift_change_nothing_but_the_draws(seed):
    residuals, labels = sample(seed, signal=4.0)
    result = intervals.norm_interval(residuals, labels, 2, draws=300)
    shifted = intervals.norm_interval(residuals.astype(np.float64) + 100, labels, 2, draws=300)
    np.testing.assert_allclose(shifted, result, rtol=1e-3, atol=1e-3)


def test_more_dimensions_than_reviews_are_rotated_away_without_a_trace():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 6)
    narrow = rng.normal(size=(12, 2, 7))
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    wide = np.concatenate([narrow, np.zeros((12, 2, 33))], axis=2) @ rotation
    here, there = (intervals.direction_intervals(x, labels, 2) for x in (wide, narrow))
    for name in ("norm", "separation", "relative"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=1e-6, atol=1e-6)
    chances = [intervals.chance(x, labels, 2) for x in (wide, narrow)]
    np.testing.assert_allclose(*chances, rtol=1e-6, atol=1e-6)


def test_a_layer_without_text_has_norm_zero_and_no_ratio():
    residuals, labels = sample(0)
    residuals[:, 0] = residuals[0, 0]
    result = intervals.direction_intervals(residuals, labels, 2, draws=50)
    assert [limit[0, 0] for limit in result.norm] == [0, 0]
    assert np.isnan([limit[0, 0] for limit in (*result.relative, *result.separation)]).all()
    threshold = intervals.chance(residuals, labels, 2, permutations=50)
    assert threshold[0, 0] == 0
    assert (threshold[0, 1:] > 0).all()
    norm = np.sqrt(metrics.squared_norm(metrics.directions(residuals, labels, 2)))
    assert intervals.leaves_chance(norm[0, :1], threshold[0, :1]) is None


def test_classes_that_do_not_vary_have_a_norm_without_width():
    residuals = np.zeros((6, 1, 3), dtype=np.float32)
    residuals[3:] = [3.0, 4.0, 0.0]
    result = intervals.direction_intervals(residuals, np.repeat([0, 1], 3), 2, draws=20)
    np.testing.assert_allclose(np.ravel(result.norm), [5, 5], rtol=1e-6)
    assert np.isnan(result.separation).all()


def test_one_review_of_a_class_is_too_few_and_none_is_an_error():
    residuals, _ = sample(0, per_class=2)
    assert np.isnan(intervals.norm_interval(residuals, np.array([0, 0, 0, 1]), 2)).all()
    with pytest.raises(UndefinedError):
        intervals.norm_interval(residuals, np.zeros(4, dtype=int), 2)


# chance


@pytest.mark.parametrize("classes", [2, 3])
def test_null_norms_are_those_of_permuted_labels(classes):
    residuals, labels = sample(3, classes)
    null = intervals.null_norms(residuals, labels, classes, permutations=5, seed=9)
    permuted = np.random.default_rng(9).permuted(np.tile(labels, (5, 1)), axis=1)
    for values, order in zip(null, permuted, strict=True):
        np.testing.assert_allclose(
            values, np.linalg.norm(metrics.directions(residuals, order, classes), axis=-1), rtol=1e-5
        )


def test_the_threshold_by_hand():
    """Medians 2 and 10; the larger null / median of each permutation: 0.5, 1, 1.5, 2, 3; their 95th percentile: 2.8."""
    null = np.array([[1.0, 2.0], [2.0, 10.0], [2.0, 15.0], [4.0, 5.0], [1.0, 30.0]])[:, None]
    np.testing.assert_allclose(intervals.familywise(null), [[2 * 2.8, 10 * 2.8]])
    with_constant = np.concatenate([np.zeros((5, 1, 1)), null], axis=2)
    np.testing.assert_allclose(intervals.familywise(with_constant), [[0, 2 * 2.8, 10 * 2.8]])


@given(seeds)
@settings(max_examples=20)
def test_five_percent_of_the_permuted_curves_exceed_the_threshold(seed):
    residuals, labels = sample(seed)
    null = intervals.null_norms(residuals, labels, 2, permutations=200, seed=seed)
    threshold = intervals.chance(residuals, labels, 2, permutations=200, seed=seed)
    assert 8 <= (null > threshold).any(axis=2).sum() <= 10  # of 200; permutations of a small sample tie
    assert (threshold >= np.median(null, axis=0)).all()


def test_the_unbiased_scale_keeps_the_decision():
    residuals, labels = sample(5, per_class=20, layers=40, signal=0.5)
    norm = np.sqrt(metrics.squared_norm(metrics.directions(residuals, labels, 2)))
    threshold = intervals.chance(residuals, labels, 2, permutations=100)
    unbiased = intervals.unbiased_chance(threshold, metrics.noise(residuals, labels, 2))
    assert 0 < (norm > threshold).sum() < 40
    assert ((metrics.norm_unbiased(residuals, labels, 2) > unbiased) == (norm > threshold)).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 2, 0, 2, 2], 3), ([2, 2, 2], 0), ([2, 2, 0], None), ([2, 2, 1], None), ([0, 0, np.nan], None), ([0, 2], 1)],
)
def test_leaves_chance_at_the_first_layer_from_which_all_later_ones_exceed(values, expected):
    assert intervals.leaves_chance(np.array(values, dtype=float), np.ones(len(values))) == expected


# a small version of benchmarks/intervals.py, whose full table stands in docs/intervals.md


@pytest.mark.parametrize("population", [*simulated.SIGNAL[:1], *simulated.SIGNAL[3:6]], ids=lambda one: one.name)
def test_norms_cover_where_there_is_signal(population):
    rates = simulated.direction(population, SIMULATIONS, seed=1, draws=300)
    for name in ("norm", "relative", "separation"):
        assert 0.89 <= rates[name] <= 0.995, name


def test_norms_cover_where_there_is_none():
    rates = simulated.direction(simulated.NONE[0], SIMULATIONS, seed=1, draws=300)
    assert min(rates["norm"], rates["relative"], rates["separation"]) >= 0.90


def test_split_cosines_proportions_and_logit_diffs_cover():
    assert 0.89 <= simulated.split_cosine(60, 0.5, SIMULATIONS)["split-half cosine"] <= 0.99
    for rate in simulated.logit_diff(60, 0.97, SIMULATIONS, draws=200).values():
        assert 0.89 <= rate <= 0.99
    for rate in simulated.proportions(200, (0.9, 0.7), 2000).values():
        assert 0.92 <= rate <= 0.98


def test_similarities_cover_and_procrustes_that_of_as_many_reviews():
    rates = simulated.similarity(60, 96, 1.0, 0.5, SIMULATIONS)
    assert 0.90 <= rates["CKA"] <= 0.99
    assert 0.90 <= rates["Procrustes of as many reviews"] <= 0.99
    assert rates["Procrustes of the population"] < 0.05, "that is what few reviews in many dimensions do"


def test_a_signal_free_curve_rarely_raises_an_alarm():
    alarms = simulated.chance(simulated.CURVES[1], SIMULATIONS, permutations=200)
    assert alarms["some layer exceeds"] <= 0.065 + 0.04
    assert alarms["leaves chance"] <= alarms["some layer exceeds"]
    assert alarms["some layer exceeds a pointwise 95 %"] > 0.15
