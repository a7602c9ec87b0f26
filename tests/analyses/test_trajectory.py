"""When training changes each layer: plain loops, planted steps, false alarms, many classes, what a new one costs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import accuracy, direction, similarity, trajectory
from backend.analyses.trajectory import Query, Result
from backend.derived.trajectory_points import Classes, classes, classes_of, likeness
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate
from backend.study.pinned import PinnedStudy
from tests.fakes import FakeModels, fake_lab, fake_study

COLUMNS = ["measure", "checkpoint", "step", "layer", "value", "value_low", "value_high", "level"]
COLUMNS += ["crossing", "crossing_low", "crossing_high", "crossing_step", "crossing_step_low", "crossing_step_high"]


def training(
    strength: np.ndarray, reviews: int = 40, width: int = 12, count: int = 2, seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Residuals of checkpoints whose class means are `strength` [checkpoints, layers] apart; noise mostly shared."""
    rng = np.random.default_rng(seed)
    labels = np.arange(reviews) % count
    axes = rng.normal(size=(strength.shape[1], count, width))
    axes /= np.linalg.norm(axes[:, 1] - axes[:, 0], axis=-1)[:, None, None] if count == 2 else 1
    shared = rng.normal(size=(reviews, strength.shape[1], width))
    return [
        (0.8 * shared + 0.6 * rng.normal(size=shared.shape) + row[:, None] * axes[:, labels].swapaxes(0, 1)).astype(
            np.float32
        )
        for row in strength
    ], labels


def logits_of(residuals: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(residuals), count)).astype(np.float32)


def measured(
    checkpoints: list[np.ndarray], labels: np.ndarray, count: int = 2, level: float = 0.9, draws: int = 200
) -> Result:
    points = [classes(one, logits_of(one, count, i), labels, count, draws, 200) for i, one in enumerate(checkpoints)]
    return trajectory.trajectory(points, [likeness(one, checkpoints[0], labels) for one in checkpoints], level)


@pytest.mark.parametrize("count", [2, 3])
def test_the_chance_level_against_a_plain_loop(count: int):
    strength = np.linspace(0, 2, 4)[:, None] * np.array([0.0, 0.5, 1.0])
    checkpoints, labels = training(strength, reviews=42, count=count)
    result = measured(checkpoints, labels, count)
    orders = np.random.default_rng(0).permuted(np.tile(labels, (200, 1)), axis=1)
    for c in range(len(metrics.contrasts(count))):
        null = np.array(
            [[[_norm(one[:, layer], order, count, c) for one in checkpoints] for layer in range(3)] for order in orders]
        )
        median = np.median(null, axis=0)
        factor = np.quantile((null / median).max(axis=(1, 2)), 0.95)
        for layer in range(3):
            curve = [_norm(one[:, layer], labels, count, c) for one in checkpoints]
            level = median[layer] * factor
            noise = [metrics.noise(one, labels, count)[c, layer] for one in checkpoints]
            expected = [math.sqrt(max(0.0, t**2 - n)) for t, n in zip(level, noise, strict=True)]
            np.testing.assert_allclose(np.asarray(result.norm.chance)[c, layer], expected, rtol=1e-4)
            first = next((i for i in range(4) if all(curve[j] > level[j] for j in range(i, 4))), 4)
            assert int(result.norm_leaves.first[c, layer]) == first


def _norm(x: np.ndarray, labels: np.ndarray, count: int, c: int) -> float:
    means = [x[labels == k].astype(float).mean(axis=0) for k in range(count)]
    if count == 2:
        return float(np.linalg.norm(means[1] - means[0]))
    return float(np.linalg.norm(means[c] - np.mean([means[k] for k in range(count) if k != c], axis=0)))


def test_one_layer_and_one_checkpoint_are_those_of_the_other_analyses(tmp_path: Path, study: PinnedStudy):
    lab = fake_lab(tmp_path)
    one, base = study.checkpoints[2], study.base
    query = Query((base, one), base, study.prompts, draws=50, permutations=60)
    result = trajectory.recipe(query, lab)
    of_direction = direction.recipe(direction.Query(one, base, study.prompts, draws=50, permutations=60), lab)
    for ours, theirs in zip(result.norm.ends, of_direction.norm_unbiased.ends, strict=True):
        np.testing.assert_allclose(ours[..., 1], theirs)
    assert (np.asarray(result.norm.chance)[..., 1] >= np.asarray(of_direction.norm_unbiased.chance) - 1e-9).all()
    alike = similarity.recipe(similarity.Query(one, base, study.prompts, draws=2, permutations=2), lab)
    for ours, theirs in zip(result.cka.ends, alike.cka.ends, strict=True):
        np.testing.assert_allclose(ours[:, 1], theirs)
    answers = accuracy.recipe(accuracy.Query(one, study.prompts, draws=2), lab)
    np.testing.assert_allclose([end[1] for end in result.accuracy.ends], answers.balanced_accuracy.ends)


def test_planted_steps_are_found():
    """Layer 0 never separates the classes, layers 1 and 2 do from checkpoints 2 and 4 on; CKA falls with the noise."""
    strength = np.zeros((6, 3))
    strength[2:, 1] = strength[4:, 2] = 4.0
    checkpoints, labels = training(strength, reviews=60)
    result = measured(checkpoints, labels, level=0.2)
    assert result.norm_leaves.first.tolist() == [[6, 2, 4]]
    assert result.norm_leaves.after.tolist()[0][1:] == [1, 3] and result.norm_leaves.by.tolist()[0][1:] == [2, 4]
    assert result.cka_falls.first[0] == 6, "layer 0 stays the same up to noise"
    assert (result.strength[0, 1, 2:] > 1).all() and (result.strength[0, 0] < 1).all()


def test_the_step_is_inside_its_interval_in_95_percent():
    """The class means move apart linearly; the true crossing is where the population reaches the level."""
    strength = np.linspace(0.0, 2.4, 13)[:, None]
    inside = 0
    for seed in range(40):
        checkpoints, labels = training(strength, seed=seed)
        points = [classes(one, None, labels, 2, 150, 100) for one in checkpoints]
        result = trajectory.trajectory(points, [likeness(one, checkpoints[0], labels) for one in checkpoints])
        level = np.asarray(result.norm.chance)[0, 0]
        beyond = np.flatnonzero(strength[:, 0] <= level)
        true = int(beyond[-1]) + 1
        crossing = result.norm_leaves
        inside += bool(crossing.after[0, 0] < true <= crossing.by[0, 0])
    assert inside >= 35, f"{inside} of 40: 95 %, with room for luck"


def test_without_signal_some_cell_is_beyond_chance_in_five_percent():
    alarms = leaves = of_accuracy = 0
    for seed in range(80):
        checkpoints, labels = training(np.zeros((5, 4)), reviews=30, width=8, seed=seed)
        points = [classes(one, logits_of(one, 2, seed), labels, 2, 2, 150) for one in checkpoints]
        result = trajectory.trajectory(points, [likeness(one, checkpoints[0], labels) for one in checkpoints])
        alarms += bool((result.norm.value > np.asarray(result.norm.chance)).any())
        leaves += bool((result.norm_leaves.first < 5).any())
        of_accuracy += bool((result.layer_accuracy.value > np.asarray(result.layer_accuracy.chance)).any())
    assert 1 <= alarms <= 10, f"{alarms} of 80: 5 %, with room for luck"
    assert leaves <= alarms
    assert 1 <= of_accuracy <= 10, f"{of_accuracy} of 80: 5 %, with room for luck"


def test_an_accuracy_of_chance_stays_and_a_better_one_leaves():
    labels = np.arange(60) % 2
    right = np.stack([-2.0 * (labels == 1) + 1, 2.0 * (labels == 1) - 1], axis=1).astype(np.float32)
    constant = np.tile(np.array([[0.0, 1.0]], dtype=np.float32), (60, 1))
    residuals = training(np.zeros((1, 2)), reviews=60)[0][0]
    logits = [None, constant, logits_of(residuals, 2), right, right]
    points = [classes(residuals, one, labels, 2, 20, 200) for one in logits]
    alike = [likeness(residuals, residuals, labels)] * 5
    result = trajectory.trajectory(points, alike)
    assert np.isnan(result.accuracy.value[0]) and result.accuracy.value[1:].tolist()[0] == 0.5
    crossing = result.accuracy_leaves
    assert (int(crossing.first), int(crossing.by)) == (3, 3) and int(crossing.after) < 3
    assert (result.cka_falls.first == 5).all() and (result.cka_falls.after == 4).all(), "the same model never moves"
    silent = trajectory.trajectory([classes(residuals, None, labels, 2, 20, 20)] * 2, alike[:2])
    assert int(silent.accuracy_leaves.first) == -1 and np.isnan(np.asarray(silent.accuracy.chance)).all()


def test_layers_without_text_have_no_step():
    checkpoints, labels = training(np.zeros((3, 2)), reviews=30)
    for one in checkpoints:
        one[:, 0] = 1.0
    result = measured(checkpoints, labels)
    assert np.isnan(result.strength[0, 0]).all() and result.norm_leaves.first[0, 0] == 3
    assert result.cka_falls.first[0] == -1


@pytest.fixture
def study() -> PinnedStudy:
    return fake_study(epochs=3, reviews=40)


def quick(study: PinnedStudy) -> Query:
    (query,) = trajectory.queries(study)
    return replace(query, draws=8, permutations=20)


def test_a_new_checkpoint_costs_only_that_checkpoint(tmp_path: Path):
    models = FakeModels(layers=4)
    lab = fake_lab(tmp_path, models)
    study = fake_study(epochs=3, models=models)
    query = quick(study)
    trajectory.recipe(replace(query, checkpoints=query.checkpoints[:3]), lab)
    assert len(models.ran) == 3
    result = trajectory.recipe(query, lab)
    assert len(models.ran) == 4, "only the new one reads the prompts"
    assert result.norm.value.shape == (1, 5, 4)
    for one in query.checkpoints:
        point = trajectory.ClassesQuery(one, None, study.prompts, 0, 8, 20, 0)
        assert isinstance(classes_of.peek(point, lab), Classes)
    again = trajectory.recipe(replace(query, level=0.5, steps=(0, 1, 2, 3)), lab)
    assert len(models.ran) == 4 and np.array_equal(again.norm.value, result.norm.value)


@pytest.mark.parametrize("count", [2, 3])
def test_rows_have_every_measure_and_undefined_cells_are_empty(tmp_path: Path, count: int):
    models = FakeModels(layers=4)
    study = fake_study(epochs=3, classes=count, models=models)
    query = quick(study)
    result = trajectory.recipe(query, fake_lab(tmp_path, models))
    rows = list(result.rows(query))
    assert list(rows[0]) == (COLUMNS if count == 2 else [*COLUMNS[:4], "class", *COLUMNS[4:]])
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    directions = 1 if count == 2 else count
    assert len(rows) == 4 * (5 * directions + 5 + 5 + 1)
    keys = [tuple(row.get(key) for key in trajectory.KEY) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(row["step"] is None and row["crossing_step"] is None for row in rows)
    assert [row["level"] for row in rows if row["measure"] == "cka"] == [0.9] * 20
    of_layer_0 = [row for row in rows if row["measure"] == "cka" and row["layer"] == 0]
    assert all(row["value"] is None and row["crossing"] is None for row in of_layer_0)
    with_steps = replace(query, steps=(0, 10, 20, 40))
    for row in result.rows(with_steps):
        for end in ("", "_low", "_high"):
            label, step = row[f"crossing{end}"], row[f"crossing_step{end}"]
            assert step == (
                None if label is None else {"base": 0}.get(label, {"1": 10, "2": 20, "3": 40}.get(label[-1]))
            )
    strongest = [row for row in result.rows(with_steps) if row["measure"] == "direction" and row["layer"] == 4]
    assert strongest[0]["crossing"] is not None and strongest[0]["crossing_step_high"] is not None


def test_it_needs_two_checkpoints_and_follows_the_reference():
    study = fake_study(epochs=2)
    (query,) = trajectory.queries(study, "epoch 1")
    assert query.reference.label == "epoch 1" and query.steps is None
    assert [one.label for one in query.checkpoints] == ["base", "epoch 1", "epoch 2"]
    alone = replace(study, checkpoints=study.checkpoints[:1])
    assert trajectory.queries(alone) == []
    with pytest.raises(KeyError):
        trajectory.queries(study, "epoch 9")


def test_the_largest_dimensions_can_be_left_out(tmp_path: Path, study: PinnedStudy):
    lab = fake_lab(tmp_path)
    query = quick(study)
    plain, without = trajectory.recipe(query, lab), trajectory.recipe(replace(query, drop_largest=2), lab)
    base, last = study.base, study.checkpoints[-1]
    residuals, reference = (lab.readout(one, study.prompts).residuals for one in (last, base))
    dropped = metrics.without_largest(residuals, reference, 2)
    expected = metrics.norm_unbiased(dropped, study.prompts.labels, 2)
    np.testing.assert_allclose(without.norm.value[..., -1], expected)
    assert not np.allclose(plain.cka.value[1:], without.cka.value[1:])


def test_the_level_is_that_of_the_direction_for_a_single_checkpoint():
    checkpoints, labels = training(np.array([[0.0, 1.0, 2.0]]))
    point = classes(checkpoints[0], None, labels, 2, 4, 100)
    result = trajectory.trajectory([point], [likeness(checkpoints[0], checkpoints[0], labels)])
    level = intervals.unbiased_chance(intervals.chance(checkpoints[0], labels, 2, 100), point.noise)
    np.testing.assert_allclose(np.asarray(result.norm.chance)[..., 0], level, rtol=1e-5)
    assert isinstance(result.norm, Estimate)


def test_the_accuracy_of_a_layer_leaves_chance_when_its_classes_part():
    strength = np.zeros((6, 3))
    strength[2:, 1], strength[4:, 2] = 3.0, 3.0
    checkpoints, labels = training(strength, reviews=60)
    result = measured(checkpoints, labels)
    crossing = result.layer_accuracy_leaves
    assert crossing.first.tolist() == [6, 2, 4] and crossing.by.tolist()[1:] == [2, 4]
    assert (result.layer_accuracy.value[1, 2:] > 0.8).all() and result.layer_accuracy.value[0].max() < 0.75
    assert np.isnan(np.asarray(measured(checkpoints, labels).layer_accuracy.chance)).sum() == 0


def test_copies_of_a_text_are_never_on_both_sides_and_too_few_texts_have_no_accuracy():
    """Each text twice, labels at random: a copy in the training part would give its label away."""
    rng = np.random.default_rng(1)
    half = rng.normal(size=(20, 1, 64)).astype(np.float32)
    residuals, labels, groups = np.tile(half, (2, 1, 1)), np.tile(np.arange(20) % 2, 2), np.tile(np.arange(20), 2)
    leaking, kept_apart = (classes(residuals, None, labels, 2, 2, 20, groups=of) for of in (None, groups))
    assert leaking.layer_accuracy.value[0] > 0.8
    assert kept_apart.layer_accuracy.value[0] < 0.65
    alone = classes(residuals[:3], None, np.array([0, 0, 1]), 2, 2, 20)
    assert np.isnan(alone.layer_accuracy.value).all() and np.isnan(alone.null_layer_accuracy).all()
