"""Cosines: by hand, against a plain loop, more than two classes, the recipe on fakes."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.analyses import cosines, direction
from backend.study.token_ids import Prompts
from tests.fake_readouts import fake_residuals
from tests.fakes import FakeModels, fake_lab, fake_study


def test_two_checkpoints_by_hand() -> None:
    base = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    tuned = [[1.0, 0.0], [0.0, 2.0], [-3.0, -3.0]]
    result = cosines.direction_cosines(np.array([[base], [tuned]]))
    assert result.between_checkpoints.shape == (1, 3, 2, 2)
    assert result.between_layers.shape == (1, 2, 3, 3)
    assert np.isnan(result.between_checkpoints[0, 0, 0, 1])
    np.testing.assert_allclose(result.between_checkpoints[0, 1:, 0, 1], [0, -1], atol=1e-12)
    np.testing.assert_allclose(result.between_layers[0, 0, 1, 2], np.sqrt(0.5))
    np.testing.assert_allclose(result.between_layers[0, 1, 0], [1, 0, -np.sqrt(0.5)], atol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_symmetric_bounded_and_free_of_scale(seed: int, scale: float) -> None:
    directions = np.random.default_rng(seed).normal(size=(3, 2, 4, 5))
    result = cosines.direction_cosines(directions)
    scaled = cosines.direction_cosines(directions * scale)
    for name in ("between_checkpoints", "between_layers"):
        value = getattr(result, name)
        assert (np.abs(value) <= 1).all()
        np.testing.assert_array_equal(value, value.swapaxes(-1, -2))
        np.testing.assert_allclose(np.diagonal(value, axis1=-2, axis2=-1), 1)
        np.testing.assert_allclose(getattr(scaled, name), value, atol=1e-12)


def test_recipe_agrees_with_a_loop_and_with_the_direction_analysis(tmp_path) -> None:
    study, models = fake_study(classes=3), FakeModels()
    lab = fake_lab(tmp_path, models)
    (query,) = cosines.queries(study)
    result = cosines.recipe(query, lab)
    assert len(models.ran) == 4
    assert cosines.recipe(query, lab).between_layers is result.between_layers
    labels = study.prompts.labels
    results = []
    for checkpoint in study.checkpoints:
        x = lab.readout(checkpoint, study.prompts).residuals.astype(np.float64)
        means = [x[labels == c].mean(axis=0) for c in range(3)]
        results.append(means[2] - (means[0] + means[1]) / 2)
    a, b = results[1][5], results[3][5]
    np.testing.assert_allclose(
        result.between_checkpoints[2, 5, 1, 3], a @ b / np.linalg.norm(a) / np.linalg.norm(b), rtol=1e-5
    )
    assert np.isnan(result.between_layers[:, :, 0]).all()
    one = direction.Query(study.checkpoints[2], study.base, study.prompts, draws=10, permutations=10)
    np.testing.assert_allclose(
        direction.recipe(one, lab).cosine_to_base, result.between_checkpoints[:, :, 0, 2], atol=1e-9
    )


def test_rows_name_every_pair_once(tmp_path) -> None:
    (query,) = cosines.queries(fake_study())
    result = cosines.recipe(query, fake_lab(tmp_path))
    rows = list(result.rows(query))
    assert list(rows[0]) == ["checkpoint", "layer", "other_checkpoint", "other_layer", "cosine"]
    pairs = {tuple(row.values())[:4] for row in rows}
    assert len(pairs) == len(rows) == 13 * 6 + 4 * 78
    assert rows[0]["cosine"] is None
    by_pair = {tuple(row.values())[:4]: row["cosine"] for row in rows}
    assert by_pair["base", 7, "epoch 2", 7] == result.between_checkpoints[0, 7, 0, 2]
    assert by_pair["epoch 1", 4, "epoch 1", 9] == result.between_layers[0, 1, 4, 9]


def test_rows_of_three_classes_name_the_class(tmp_path) -> None:
    (query,) = cosines.queries(fake_study(classes=3))
    rows = list(cosines.recipe(query, fake_lab(tmp_path)).rows(query))
    assert [*rows[0]][4] == "class"
    assert {row["class"] for row in rows} == {0, 1, 2}


def test_the_reference_says_which_dimensions_are_left_out(tmp_path) -> None:
    def massive(epoch: int, prompts: Prompts, layers: int, width: int) -> np.ndarray:
        residuals = fake_residuals(epoch, prompts, layers, width)
        residuals[..., 11 if epoch == 2 else 3] *= 100
        return residuals

    models = FakeModels(layers=4, width=12, residuals=massive)
    study, lab = fake_study(models=models), fake_lab(tmp_path, models)
    labels = study.prompts.labels
    for reference in ("base", "epoch 2"):
        (query,) = cosines.queries(study, reference)
        result = cosines.recipe(replace(query, drop_largest=1), lab)
        residuals = [
            lab.readout(checkpoint, study.prompts).residuals.astype(np.float64) for checkpoint in study.checkpoints
        ]
        largest = np.abs(lab.readout(study.checkpoint(reference), study.prompts).residuals[:, 3]).mean(axis=0).argmax()
        a, b = (np.delete(x[labels == 1, 3].mean(0) - x[labels == 0, 3].mean(0), largest) for x in residuals[1:3])
        expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        np.testing.assert_allclose(result.between_checkpoints[0, 3, 1, 2], expected, rtol=1e-5)
