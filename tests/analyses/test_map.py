"""Map: the noise floor, starts, small samples, constant layers, cancel, the recipe on fakes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from backend.analyses import map as reviews_map
from backend.errors import Cancelled
from backend.stats.embedding_maps import drift
from tests.fakes import FakeModels, fake_lab, fake_study

METHODS = ["tsne", "umap"]
pytestmark = pytest.mark.timeout(600)  # umap-learn compiles itself at first use, which a busy machine takes minutes for


def made(seed: int = 0, reviews: int = 60, apart: float = 8.0) -> np.ndarray:
    """Three groups of reviews in twelve dimensions."""
    rng = np.random.default_rng(seed)
    centres = apart * np.eye(12)[:3]
    return (rng.normal(size=(reviews, 12)) + centres[np.arange(reviews) % 3]).astype(np.float32)


def fitting(method, seed: int = 0) -> reviews_map.Fit:
    return reviews_map.Fit(method, seed, 30.0, 15)


@pytest.mark.parametrize("method", METHODS)
def test_groups_stay_together_and_the_map_is_trustworthy(method) -> None:
    residuals = made()
    result = reviews_map.first_map(residuals, fitting(method))
    groups = [result.xy[i::3] for i in range(3)]
    within = max(np.linalg.norm(group - group.mean(axis=0), axis=1).mean() for group in groups)
    means = np.stack([group.mean(axis=0) for group in groups])
    between = min(np.linalg.norm(means[i] - means[j]) for i in range(3) for j in range(i))
    assert between > 2 * within
    assert result.drift == 0.0
    theirs = trustworthiness(residuals, result.xy, n_neighbors=15)
    assert result.trustworthiness == pytest.approx(theirs, abs=1e-6)
    assert result.trustworthiness > 0.75


@pytest.mark.parametrize("method", METHODS)
def test_an_unchanged_checkpoint_drifts_as_far_as_the_floor(method) -> None:
    residuals = made()
    fit = fitting(method)
    first = reviews_map.first_map(residuals, fit)
    same = reviews_map.continued_map(residuals, first, fit)
    assert same.drift == first.noise_floor == same.noise_floor
    assert 0 < first.noise_floor < 0.7
    other = reviews_map.continued_map(made(seed=9)[np.random.default_rng(0).permutation(60)], first, fit)
    assert other.drift > 2 * first.noise_floor


@pytest.mark.parametrize("method", METHODS)
def test_a_slight_change_moves_less_than_a_new_start(method) -> None:
    residuals = made(apart=3.0)
    fit = fitting(method)
    first = reviews_map.first_map(residuals, fit)
    changed = residuals + 0.2 * np.random.default_rng(1).normal(size=residuals.shape).astype(np.float32)
    mirrored = replace(first, xy=(first.xy * np.array([-1, 1], dtype=np.float32)))
    assert reviews_map.continued_map(changed, first, fit).drift < 1.0
    assert drift(first.xy, reviews_map.continued_map(changed, mirrored, fit).xy) > 1.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reviews", [5, 6, 9])
def test_small_samples_have_a_map(method, reviews: int) -> None:
    first = reviews_map.first_map(made(reviews=reviews), fitting(method))
    assert np.isfinite(first.xy).all()
    assert np.isfinite(reviews_map.continued_map(made(1, reviews), first, fitting(method)).xy).all()


@pytest.mark.parametrize("residuals", [np.ones((30, 4), dtype=np.float32), made(reviews=4)])
def test_identical_or_hardly_any_reviews_have_none(residuals: np.ndarray) -> None:
    result = reviews_map.first_map(residuals, fitting("tsne"))
    assert np.isnan(result.xy).all()
    assert np.isnan([result.drift, result.noise_floor, result.trustworthiness]).all()
    assert np.isnan(reviews_map.continued_map(made(reviews=len(residuals)), result, fitting("tsne")).drift)


@pytest.mark.parametrize("method", METHODS)
def test_recipe_is_deterministic_and_starts_from_the_reference(tmp_path, method) -> None:
    study, models = fake_study(epochs=1), FakeModels()
    lab = fake_lab(tmp_path, models)
    base, tuned = (query for query in reviews_map.queries(study) if query.method == method)
    reports: list[tuple[float, str]] = []
    result = reviews_map.recipe(tuned, lab.watched(lambda *report: reports.append(report)))
    first = reviews_map.recipe.peek(base, lab)
    assert first is not None
    assert len(models.ran) == 2
    assert result.drift == pytest.approx(drift(first.xy, result.xy))
    assert result.noise_floor == first.noise_floor
    assert reports[-1][0] == 1.0
    assert [fraction for fraction, _ in reports] == sorted(fraction for fraction, _ in reports)
    again = reviews_map.recipe(tuned, fake_lab(tmp_path / "other"))
    np.testing.assert_array_equal(again.xy, result.xy)
    reseeded = reviews_map.recipe(replace(tuned, seed=1), lab)
    assert not np.array_equal(reseeded.xy, result.xy)


def test_cancel_arrives_between_phases(tmp_path) -> None:
    study = fake_study(epochs=1)
    query = reviews_map.queries(study)[0]

    def cancel(_fraction: float, sentence: str) -> None:
        if sentence.startswith("Settling"):
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        reviews_map.recipe(query, fake_lab(tmp_path).watched(cancel))


def test_queries_and_rows_are_those_of_the_contract(tmp_path) -> None:
    study = fake_study()
    queries = reviews_map.queries(study)
    assert [(q.method, q.checkpoint.label) for q in queries] == [
        (method, label) for method in METHODS for label in ("base", "epoch 1", "epoch 2", "epoch 3")
    ]
    assert {q.layer for q in queries} == {12}
    assert next(q.checkpoint.label for q in reviews_map.queries(study, "epoch 2")) == "epoch 2"
    result = reviews_map.recipe(queries[0], fake_lab(tmp_path))
    rows = list(result.rows(queries[0]))
    assert len(rows) == 60
    assert list(rows[0]) == ["method", "checkpoint", "layer", "index", "x", "y"]
    x, y = result.xy[1].tolist()
    assert list(rows[1].values()) == ["tsne", "base", 12, int(study.sample.index[1]), x, y]
    nowhere = replace(queries[0], layer=0)
    assert next(iter(reviews_map.recipe(nowhere, fake_lab(tmp_path)).rows(nowhere)))["x"] is None
