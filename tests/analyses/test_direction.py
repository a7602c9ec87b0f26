"""Direction: a plain loop as reference, invariances, constant layers, chance, the recipe on fakes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.analyses import direction
from backend.stats import intervals, metrics
from backend.study.token_ids import Prompts
from tests.fakes import FakeModels, fake_lab, fake_study

COLUMNS = [
    "checkpoint",
    "layer",
    *("norm", "norm_low", "norm_high"),
    *("norm_unbiased", "norm_unbiased_low", "norm_unbiased_high"),
    "chance",
    *("relative", "relative_low", "relative_high"),
    *("separation", "separation_low", "separation_high"),
    "cosine_to_base",
    *("cosine_to_base_split", "cosine_to_base_split_low", "cosine_to_base_split_high"),
]


def made(seed: int = 0, reviews: int = 40, layers: int = 4, width: int = 6, classes: int = 2, signal: float = 1.0):
    """Residuals with a signal that grows over layers; layer 0 is a constant."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(reviews) % classes)
    residuals = rng.normal(size=(reviews, layers, width)) + 3
    residuals += signal * np.arange(layers)[:, None] * rng.normal(size=(classes, 1, width))[labels]
    residuals[:, 0] = 2.0
    return residuals.astype(np.float32), labels


def measured(residuals, labels, reference=None, classes: int = 2, seed: int = 0) -> direction.Result:
    reference = residuals if reference is None else reference
    own, other = (intervals.chance(x, labels, classes, 100, seed) for x in (residuals, reference))
    prompts = Prompts("", ((0,),) * len(labels), labels, tuple(range(classes)), np.zeros(len(labels), dtype=bool))
    return direction.direction(residuals, reference, prompts, (own, other), draws=50, splits=20, seed=seed)


def test_agrees_with_a_plain_loop() -> None:
    residuals, labels = made()
    result = measured(residuals, labels)
    for layer in range(1, 4):
        x = residuals[:, layer].astype(np.float64)
        one, zero = x[labels == 1], x[labels == 0]
        d = one.mean(axis=0) - zero.mean(axis=0)
        traces = [sum(np.var(part[:, w], ddof=1) for w in range(6)) for part in (one, zero)]
        t = d @ d - traces[0] / len(one) - traces[1] / len(zero)
        spread = np.sqrt(((len(one) - 1) * traces[0] + (len(zero) - 1) * traces[1]) / (len(x) - 2))
        assert result.norm.value[0, layer] == pytest.approx(np.linalg.norm(d))
        assert result.norm_unbiased.value[0, layer] == pytest.approx(np.sqrt(max(0, t)))
        mean_norm = np.mean([np.linalg.norm(row) for row in x])
        assert result.relative.value[0, layer] == pytest.approx(np.linalg.norm(d) / mean_norm)
        assert result.separation.value[0, layer] == pytest.approx(np.sqrt(max(0, t)) / spread)
        np.testing.assert_allclose(result.projections[:, 0, layer], x @ d / np.linalg.norm(d), rtol=1e-6)
        pairs = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for i in range(40) for j in range(i)]
        assert result.review_cosine[layer] == pytest.approx(np.mean(pairs))


def test_distance_between_projected_class_means_is_the_norm() -> None:
    residuals, labels = made(seed=3)
    result = measured(residuals, labels)
    apart = result.class_projections[1, 0] - result.class_projections[0, 0]
    np.testing.assert_allclose(apart[1:], result.norm.value[0, 1:])


def test_a_constant_layer_is_zero_or_undefined() -> None:
    residuals, labels = made()
    result = measured(residuals, labels)
    at_0 = result.norm[0, 0]
    assert (*at_0.ends, at_0.chance, result.norm_unbiased.value[0, 0], result.relative.value[0, 0]) == (0,) * 6
    assert np.isnan([one.value[0, 0] for one in (result.separation, result.cosine_to_base_split)]).all()
    assert np.isnan(result.cosine_to_base[0, 0])
    assert np.isnan(result.projections[:, 0, 0]).all()
    assert result.leaves_chance[0] > 0


@settings(max_examples=6)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_scale_cancels_where_it_should(seed: int, scale: float) -> None:
    residuals, labels = made(seed)
    residuals = residuals.astype(np.float64)
    one, other = measured(residuals, labels), measured(residuals * scale, labels)
    for name, grows in (("norm", scale), ("norm_unbiased", scale), ("relative", 1.0), ("separation", 1.0)):
        of_other, of_one = getattr(other, name), getattr(one, name)
        for end in ("value", "high", "chance"):
            expected = getattr(of_one, end) * grows
            np.testing.assert_allclose(getattr(of_other, end), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.cosine_to_base, one.cosine_to_base, rtol=1e-6, atol=1e-9)
    assert one.leaves_chance == other.leaves_chance


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_swapping_two_classes_turns_the_direction_round(seed: int) -> None:
    residuals, labels = made(seed)
    other, _ = made(seed + 1)
    one, swapped = measured(residuals, labels, other), measured(residuals, 1 - labels, other)
    np.testing.assert_allclose(swapped.projections, -one.projections)
    np.testing.assert_allclose(swapped.norm.value, one.norm.value)
    np.testing.assert_allclose(swapped.cosine_to_base, one.cosine_to_base)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0, 0.6))
def test_every_scale_makes_the_same_decision(seed: int, signal: float) -> None:
    result = measured(*made(seed, signal=signal))
    above = result.norm.value > result.norm.chance
    np.testing.assert_array_equal(result.norm_unbiased.value > result.norm_unbiased.chance, above)
    np.testing.assert_array_equal(result.relative.value > result.relative.chance, above)
    np.testing.assert_array_equal(result.separation.value > result.separation.chance, above)


def test_cosine_to_itself_is_one_where_there_is_signal_and_empty_below_chance() -> None:
    residuals, labels = made(signal=2.0)
    clear = measured(residuals, labels)
    np.testing.assert_allclose(clear.cosine_to_base[0, 1:], 1)
    np.testing.assert_allclose(clear.cosine_to_base_split.value[0, 1:], 1)
    near, _ = made(seed=7, signal=0.0)
    near[:, 1:] += residuals[:, 1:]
    other = measured(near, labels, reference=residuals)
    low, high = other.cosine_to_base_split.low[0, 1:], other.cosine_to_base_split.high[0, 1:]
    assert (low <= other.cosine_to_base_split.value[0, 1:]).all()
    assert (high >= other.cosine_to_base_split.value[0, 1:]).all()
    assert (low > 0).all()
    noise, _ = made(seed=5, signal=0.0)
    below = measured(residuals, labels, reference=noise)
    assert (below.norm.value > below.norm.chance)[0, 1:].all()
    assert np.isnan(below.cosine_to_base_split.ends).all()
    assert np.isfinite(below.cosine_to_base[0, 1:]).all()


def test_three_classes_have_three_directions_that_sum_to_zero() -> None:
    residuals, labels = made(reviews=60, classes=3)
    result = measured(residuals, labels, classes=3)
    means = np.stack([residuals[labels == c, 2].astype(np.float64).mean(axis=0) for c in range(3)])
    assert result.norm.value[1, 2] == pytest.approx(np.linalg.norm(means[1] - (means[0] + means[2]) / 2))
    assert result.norm.value.shape == (3, 4)
    assert len(result.leaves_chance) == 3


def test_recipe_shares_readouts_and_chance_levels(tmp_path) -> None:
    study, models = fake_study(), FakeModels()
    lab = fake_lab(tmp_path, models)
    reports: list[float] = []
    queries = [direction.Query(c, study.base, study.prompts, draws=50, permutations=100) for c in study.checkpoints]
    results = [direction.recipe(query, lab.watched(lambda fraction, _: reports.append(fraction))) for query in queries]
    assert len(models.ran) == 4
    assert direction.recipe(queries[2], lab) is direction.recipe(queries[2], lab)
    again = direction.recipe(queries[2], fake_lab(tmp_path / "other"))
    np.testing.assert_array_equal(again.norm.low, results[2].norm.low)
    np.testing.assert_array_equal(again.norm.chance, results[2].norm.chance)
    assert reports[-1] == 1.0
    assert results[0].norm.value[0, -1] < results[1].norm.value[0, -1] < results[3].norm.value[0, -1]
    assert results[3].leaves_chance[0] > 0
    assert direction.chance_level.peek(queries[1].chance_of(study.base), lab) is not None


def test_largest_dimensions_are_those_of_the_reference(tmp_path) -> None:
    study = fake_study()
    lab = fake_lab(tmp_path)
    last, base = study.checkpoints[-1], study.base
    query = direction.Query(last, base, study.prompts, drop_largest=2, draws=20, permutations=50)
    result = direction.recipe(query, lab)
    kept = np.delete(lab.readout(last, study.prompts).residuals, [3, 7], axis=2).astype(np.float64)
    labels = study.prompts.labels
    d = kept[labels == 1].mean(axis=0) - kept[labels == 0].mean(axis=0)
    np.testing.assert_allclose(result.norm.value[0, 4:], np.linalg.norm(d, axis=-1)[4:], rtol=1e-6)
    assert (result.review_cosine[4:] < direction.recipe(direction.queries(study)[-1], lab).review_cosine[4:]).all()


def test_rows_are_those_of_the_contract(tmp_path) -> None:
    study = fake_study()
    query = direction.Query(study.checkpoint("epoch 3"), study.base, study.prompts, draws=20, permutations=50)
    result = direction.recipe(query, fake_lab(tmp_path))
    rows = list(result.rows(query))
    assert [list(row) for row in rows] == [COLUMNS] * 13
    assert [row["layer"] for row in rows] == list(range(13))
    assert {row["checkpoint"] for row in rows} == {"epoch 3"}
    assert rows[0]["norm"] == 0.0
    assert rows[0]["separation"] is rows[0]["cosine_to_base"] is None
    assert rows[12]["norm"] == result.norm.value[0, 12]
    assert all(not isinstance(value, float) or np.isfinite(value) for row in rows for value in row.values())


def test_rows_of_three_classes_name_the_class(tmp_path) -> None:
    study = fake_study(classes=3)
    query = direction.Query(study.base, study.base, study.prompts, draws=20, permutations=50)
    rows = list(direction.recipe(query, fake_lab(tmp_path)).rows(query))
    assert list(rows[0]) == ["checkpoint", "layer", "class", *COLUMNS[2:]]
    assert [row["class"] for row in rows[:4]] == [0, 1, 2, 0]
    assert len(rows) == 39


def test_queries_take_any_reference() -> None:
    study = fake_study()
    assert {query.reference.label for query in direction.queries(study, "epoch 2")} == {"epoch 2"}
    assert [query.checkpoint.label for query in direction.queries(study)] == ["base", "epoch 1", "epoch 2", "epoch 3"]
    with pytest.raises(KeyError):
        direction.queries(study, "epoch 9")


def test_copies_are_in_one_half(tmp_path) -> None:
    """Torn apart, copies of a text agree with themselves, and the interval is that of three times the texts."""
    study, models = fake_study(reviews=60), FakeModels(layers=2, width=12)
    rng = np.random.default_rng(0)
    labels, groups = np.tile(np.arange(20) % 2, 3), np.tile(np.arange(20), 3)
    streams = [np.tile(rng.normal(size=(20, 3, 12)), (3, 1, 1)).astype(np.float32) for _ in range(2)]
    for stream in streams:
        stream[:, 1:, 0] += 2 * labels[:, None]
    models.residuals = lambda epoch, prompts, layers, width: streams[epoch]
    results = []
    for copies in (groups, None):
        prompts = replace(study.prompts, labels=labels, groups=copies, digest=f"{copies is None}")
        query = direction.Query(study.checkpoints[1], study.base, prompts, draws=20, permutations=20)
        results.append(direction.recipe(query, fake_lab(tmp_path, models)))
    together, torn = results
    widths = [result.cosine_to_base_split.high - result.cosine_to_base_split.low for result in results]
    there = np.isfinite(widths[0]) & np.isfinite(widths[1])
    assert there.any()
    assert (widths[0][there] > 1.3 * widths[1][there]).all()
    assert (together.cosine_to_base_split.value[there] != torn.cosine_to_base_split.value[there]).all()


def test_more_dimensions_than_reviews_give_the_numbers_of_the_definitions():
    """Against every definition on the residuals themselves: massive dimensions, copies of texts, three classes."""
    rng = np.random.default_rng(0)
    for drop_largest, classes in ((0, 2), (3, 2), (0, 3)):
        prompts = fake_study(reviews=48, classes=classes, epochs=1).prompts
        groups = np.arange(48)
        groups[40:] = np.arange(8)
        prompts = replace(prompts, groups=groups if classes == 3 else None)
        labels = prompts.labels
        reference = rng.normal(size=(48, 3, 150)) + rng.normal(size=150) * 5
        reference[:, :, :3] *= 1000
        residuals = reference + rng.normal(size=reference.shape) + labels[:, None, None] * rng.normal(size=150)
        reference[:, 0] = reference[0, 0]
        if classes == 3:
            residuals[:, 0] = residuals[0, 0]
        both = [
            metrics.without_largest(one.astype(np.float32), reference, drop_largest) for one in (residuals, reference)
        ]
        levels = [np.zeros((1 if classes == 2 else 3, 3)) for _ in range(2)]
        result = direction.direction(both[0], both[1], prompts, (levels[0], levels[1]), draws=100)
        x, base = (one.astype(np.float64) for one in both)
        given = (x, labels, classes)
        d, d_base = (metrics.directions(one, labels, classes) for one in (x, base))
        norm = np.linalg.norm(d, axis=-1)
        plain = {
            "norm": norm,
            "norm_unbiased": metrics.norm_unbiased(*given),
            "relative": norm / np.linalg.norm(x, axis=2).mean(axis=0),
            "separation": metrics.separation(*given),
            "cosine_to_base_split": metrics.split_cosine(base, x, labels, classes, groups=prompts.groups),
        }
        plain["cosine_to_base_split"][norm <= 0] = np.nan
        for name, expected in plain.items():
            np.testing.assert_allclose(getattr(result, name).value, expected, rtol=1e-6, atol=1e-9, err_msg=name)
        covers = intervals.direction_intervals(*given, draws=100)
        for name in ("norm", "relative", "separation"):
            ends = getattr(result, name).low, getattr(result, name).high
            np.testing.assert_allclose(ends, getattr(covers, name), rtol=1e-6, atol=1e-9, err_msg=name)
        split = intervals.split_cosine_interval(base, x, labels, classes, groups=prompts.groups)
        ends = result.cosine_to_base_split.low, result.cosine_to_base_split.high
        np.testing.assert_allclose(ends, split, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(result.cosine_to_base, metrics.cosine(d, d_base), rtol=1e-6)
        np.testing.assert_allclose(result.review_cosine, metrics.review_cosine(x), rtol=1e-6)
        plain_projections = metrics.ratio(np.einsum("rlw,clw->rcl", x, d), norm)
        np.testing.assert_allclose(result.projections, plain_projections, rtol=1e-6)
