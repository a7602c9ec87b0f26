"""Projection: scikit-learn's PCA as reference, signs, the three bases, constant layers, the recipe on fakes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from backend.analyses import projection
from tests.fakes import FakeModels, fake_lab, fake_study


def made(seed: int = 0, reviews: int = 30, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Two layers after a constant one, six dimensions of different spread."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(reviews) % classes)
    residuals = rng.normal(size=(reviews, 3, 6)) * np.arange(6, 0, -1) + 4
    residuals += 3 * rng.normal(size=(classes, 3, 6))[labels]
    residuals[:, 0] = 1.5
    return residuals, labels


def test_own_basis_is_that_of_scikit_learn() -> None:
    residuals, labels = made()
    result = projection.projection(residuals, residuals, (), labels, 2, "own")
    for layer in (1, 2):
        pca = PCA(2, svd_solver="full").fit(residuals[:, layer])
        theirs = pca.transform(residuals[:, layer])
        np.testing.assert_allclose(np.abs(result.xy[layer]), np.abs(theirs), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(result.explained[layer], pca.explained_variance_ratio_)


def test_base_basis_keeps_the_axes_and_origin_of_the_reference() -> None:
    (residuals, labels), (reference, _) = made(1), made(2)
    result = projection.projection(residuals, reference, (), labels, 2, "base")
    pca = PCA(2, svd_solver="full").fit(reference[:, 2])
    theirs = pca.transform(residuals[:, 2])
    np.testing.assert_allclose(np.abs(result.xy[2]), np.abs(theirs), rtol=1e-4, atol=1e-4)
    shares = theirs.var(axis=0) / residuals[:, 2].var(axis=0).sum()
    np.testing.assert_allclose(result.explained[2], shares)


def test_shared_basis_centres_every_checkpoint_on_its_own_mean() -> None:
    (residuals, labels), (reference, _) = made(1), made(2)
    far = residuals + 1000
    near, away = (projection.projection(x, reference, (reference, x), labels, 2, "shared") for x in (residuals, far))
    pool = np.concatenate([x[:, 1] - x[:, 1].mean(axis=0) for x in (reference, residuals)])
    theirs = PCA(2, svd_solver="full").fit(pool).transform(residuals[:, 1] - residuals[:, 1].mean(axis=0))
    np.testing.assert_allclose(np.abs(near.xy[1]), np.abs(theirs), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(away.xy, near.xy, atol=1e-3)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["own", "base", "shared"]))
def test_arrow_is_the_difference_of_projected_class_means(seed: int, basis) -> None:
    (residuals, labels), (reference, _) = made(seed), made(seed + 1)
    result = projection.projection(residuals, reference, (reference, residuals), labels, 2, basis)
    apart = result.xy[:, labels == 1].mean(axis=1) - result.xy[:, labels == 0].mean(axis=1)
    np.testing.assert_allclose(result.arrow[1:, 0], apart[1:], atol=1e-4)
    assert ((result.explained[1:] >= 0) & (result.explained[1:] <= 1)).all()


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["base", "shared"]))
def test_signs_belong_to_the_basis_and_follow_all_checkpoints_together(seed: int, basis) -> None:
    reference, labels = made(seed)
    pool = (reference, *(made(seed + i)[0] for i in range(1, 3)))
    found = [projection.projection(one, reference, pool, labels, 2, basis) for one in pool]
    assert (np.sum([one.arrow[1:, 0] for one in found], axis=0) >= -1e-9).all()
    shuffled = np.random.default_rng(seed).permutation(6)
    turned = tuple(x[..., shuffled] for x in pool)
    for one, model in zip(found, turned, strict=True):
        other = projection.projection(model, turned[0], turned, labels, 2, basis)
        np.testing.assert_allclose(other.xy, one.xy, atol=1e-3)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_a_checkpoint_has_its_last_class_right_and_up_in_its_own_basis(seed: int, classes: int) -> None:
    (residuals, labels), (reference, _) = made(seed, classes=classes), made(seed + 1, classes=classes)
    result = projection.projection(residuals, reference, (), labels, classes, "own")
    assert (result.arrow[1:, -1] >= 0).all()
    others = np.stack([result.xy[1:, labels == c].mean(axis=1) for c in range(classes - 1)]).mean(axis=0)
    assert (result.xy[1:, labels == classes - 1].mean(axis=1) >= others - 1e-4).all()


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["own", "base", "shared"]))
def test_classes_keep_their_side_in_every_layer_and_epoch_and_basis(seed: int, basis) -> None:
    """Training finds the direction step by step; that of the base is noise, to either side."""
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % 2
    base = rng.normal(size=(40, 4, 8))
    signal = rng.normal(size=(4, 8)) * 6
    epochs = [base + step * (labels[:, None, None] - 0.5) * signal for step in (1, 2, 3)]
    x = np.stack(
        [projection.projection(one, base, (base, *epochs), labels, 2, basis).arrow[:, 0, 0] for one in (base, *epochs)]
    )
    if basis == "own":
        assert (x >= 0).all()
    else:  # the axes are fixed, so one checkpoint may point left where its direction is nearly across them
        assert (x.sum(axis=0) >= 0).all()


def test_a_constant_layer_has_no_picture() -> None:
    residuals, labels = made()
    for basis in ("own", "base", "shared"):
        result = projection.projection(residuals, residuals, (residuals,), labels, 2, basis)
        assert np.isnan(result.xy[0]).all()
        assert np.isnan(result.explained[0]).all()
        assert np.isnan(result.arrow[0]).all()
        assert np.isfinite(result.xy[1:]).all()


def test_three_classes_have_three_arrows() -> None:
    residuals, labels = made(classes=3)
    result = projection.projection(residuals, residuals, (), labels, 3, "own")
    means = np.stack([result.xy[2, labels == c].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(result.arrow[2, 0], means[0] - (means[1] + means[2]) / 2, atol=1e-4)
    np.testing.assert_allclose(result.arrow[2].sum(axis=0), 0, atol=1e-9)
    assert (result.arrow[2, 2] >= 0).all()


def test_recipe_on_every_basis(tmp_path) -> None:
    study, models = fake_study(), FakeModels()
    lab = fake_lab(tmp_path, models)
    reports: list[float] = []
    queries = projection.queries(study)
    results = {
        (q.basis, q.checkpoint.label): projection.recipe(q, lab.watched(lambda fraction, _: reports.append(fraction)))
        for q in queries
    }
    assert len(results) == len(queries) == 12
    assert len(models.ran) == 4
    assert max(reports) == 1.0
    np.testing.assert_allclose(np.abs(results["own", "base"].xy), np.abs(results["base", "base"].xy))
    again = [projection.recipe(query, fake_lab(tmp_path / "other")) for query in queries]
    for one, two in zip(results.values(), again, strict=True):
        np.testing.assert_array_equal(one.xy, two.xy)
    for basis in ("base", "shared"):
        epochs = ("base", "epoch 1", "epoch 2", "epoch 3")
        together = np.sum([results[basis, label].arrow[1:] for label in epochs], axis=0)
        assert (together >= -1e-9).all()
    assert results["own", "epoch 3"].xy.shape == (13, 60, 2)


def test_without_the_largest_dimensions(tmp_path) -> None:
    study, lab = fake_study(), fake_lab(tmp_path)
    query = projection.Query("own", study.checkpoints[1], study.base, (), study.prompts, drop_largest=2)
    result = projection.recipe(query, lab)
    kept = np.delete(lab.readout(study.checkpoints[1], study.prompts).residuals[:, 12], [3, 7], axis=1)
    theirs = PCA(2, svd_solver="full").fit_transform(kept.astype(np.float64))
    np.testing.assert_allclose(np.abs(result.xy[12]), np.abs(theirs), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_are_those_of_the_contract(tmp_path, classes: int) -> None:
    study = fake_study(classes=classes)
    query = projection.queries(study)[-1]
    result = projection.recipe(query, fake_lab(tmp_path))
    rows = list(result.rows(query))
    assert len(rows) == 13 * 60
    assert list(rows[0]) == ["basis", "checkpoint", "layer", "index", "x", "y"]
    assert list(rows[0].values()) == ["shared", "epoch 3", 0, int(study.sample.index[0]), None, None]
    x, y = result.xy[12, 59].tolist()
    assert list(rows[-1].values()) == ["shared", "epoch 3", 12, int(study.sample.index[59]), x, y]


def test_the_source_rows_are_not_in_the_key() -> None:
    study = fake_study()
    query = projection.queries(study)[0]
    bare = projection.Query("own", study.base, study.base, (), study.prompts)
    assert projection.recipe.key(query) == projection.recipe.key(bare)
