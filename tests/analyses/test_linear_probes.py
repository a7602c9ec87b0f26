"""Linear probes against scikit-learn's own pipeline, transfers without leaks, baselines, coverage."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend.analyses import linear_probes
from backend.errors import Cancelled, UndefinedError
from backend.stats import intervals
from backend.study.prompts import make_prompts
from benchmarks import probes as simulated
from tests.fakes import FakeModels, fake_lab, fake_study

NAMES = ("accuracy", "shuffled_accuracy", "from_base", "to_base", "length_accuracy", "embedding_accuracy")
COLUMNS = ["checkpoint", "layer", *(name + end for name in NAMES for end in ("", "_low", "_high"))]


def small(**more):
    models = FakeModels(layers=3, width=8)
    return fake_study(models=models, reviews=48, **more), models


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small study, and a lab that keeps what one test has computed for the next."""
    study, models = small()
    return study, models, fake_lab(tmp_path_factory.mktemp("linear"), models)


def pipeline(seed: int = 0) -> GridSearchCV:
    """Scikit-learn's own way, without rotation, warm starts or shortcuts."""
    return GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=10000, tol=1e-6)),
        {"logisticregression__C": list(linear_probes.C_GRID)},
        cv=StratifiedKFold(3, shuffle=True, random_state=seed),
        scoring="neg_log_loss",
    )


def made(seed: int, classes: int, width: int, reviews: int = 45) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(reviews) % classes)
    signal = rng.normal(size=(classes, width))[labels]
    return (rng.normal(size=(reviews, width)) + 0.4 * signal) * rng.uniform(0.1, 9, width) + 5, labels


@pytest.mark.parametrize(("classes", "width"), [(2, 70), (2, 5), (3, 60)])
def test_held_out_predictions_are_those_of_the_plain_pipeline(classes: int, width: int):
    features, labels = made(width, classes, width)
    fold_of = linear_probes.folds(labels, seed=0)
    probe = linear_probes.fit(features, labels, fold_of, seed=0)
    outer = StratifiedKFold(5, shuffle=True, random_state=0)
    predicted = probe.predict(features, fold_of)
    assert 0.4 < (predicted == labels).mean() < 1
    for fold, (train, test) in enumerate(outer.split(features, labels)):
        np.testing.assert_array_equal(np.flatnonzero(fold_of == fold), test)
        fitted = pipeline().fit(features[train], labels[train])
        np.testing.assert_array_equal(predicted[test], fitted.predict(features[test]))
        assert probe.chosen[fold] == fitted.best_params_["logisticregression__C"]
        chance = np.exp(features @ probe.weights[fold].T + probe.offsets[fold])
        np.testing.assert_allclose(
            chance / chance.sum(axis=1, keepdims=True), fitted.predict_proba(features), rtol=1e-2, atol=2e-3
        )


def test_a_transferred_probe_never_tests_a_review_that_it_was_fitted_on(world):
    study, _, lab = world
    labels, query = study.prompts.labels, linear_probes.queries(study)[3]
    result = linear_probes.recipe(query, lab)
    ours, theirs = (
        lab.readout(checkpoint, study.prompts).residuals for checkpoint in (query.checkpoint, query.reference)
    )
    outer = StratifiedKFold(5, shuffle=True, random_state=0)
    for layer, name in ((2, "from_base"), (3, "to_base")):
        source, target = (theirs, ours) if name == "from_base" else (ours, theirs)
        predicted = np.empty_like(labels)
        for train, test in outer.split(labels, labels):
            fitted = pipeline().fit(source[train, layer], labels[train])
            predicted[test] = fitted.predict(target[test, layer])
        recalls = np.array([(predicted[labels == c] == c).mean() for c in (0, 1)])
        assert getattr(result, name).value[layer] == pytest.approx(recalls.mean()), name
        low, high = intervals.balanced_accuracy_interval(recalls, np.array([24, 24]))
        assert getattr(result, name)[layer].ends[1:] == (low, high)


def test_baselines_see_length_and_words_only(world):
    study, models, lab = world
    labels, prompts, query = study.prompts.labels, study.prompts, linear_probes.queries(study)[3]
    result = linear_probes.recipe(query, lab)
    rows = models.embedding(query.checkpoint, "input").rows
    bags = np.stack([np.mean([rows[i] for i in ids], axis=0) for ids in prompts.token_ids])
    for name, x in (("length", prompts.lengths[:, None].astype(float)), ("embedding", bags)):
        predicted = cross_val_predict(pipeline(), x, labels, cv=StratifiedKFold(5, shuffle=True, random_state=0))
        assert getattr(result, f"{name}_accuracy").value == pytest.approx((predicted == labels).mean()), name


def test_shuffled_labels_are_not_found_and_real_ones_are(world):
    study, _, lab = world
    result = linear_probes.recipe(linear_probes.queries(study)[3], lab)
    assert result.accuracy.value[-1] > 0.8
    assert (result.shuffled_accuracy.low[1:] < 0.5).all()
    assert result.accuracy.low[-1] > result.shuffled_accuracy.value[-1]


def test_random_features_are_at_chance_however_many():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    hits = []
    for _ in range(4):
        features = rng.normal(size=(60, 300))
        fold_of = linear_probes.folds(labels, 0)
        hits.append((linear_probes.fit(features, labels, fold_of, 0).predict(features, fold_of) == labels).mean())
    assert 0.33 < np.mean(hits) < 0.65, "five folds of pure noise"


def test_a_constant_layer_is_undefined_and_its_cells_are_empty(world):
    study, _, lab = world
    query = linear_probes.queries(study)[3]
    result = linear_probes.recipe(query, lab)
    rows = list(result.rows(query))
    assert [list(row) for row in rows] == [COLUMNS] * 4
    for name in NAMES[:4]:
        assert np.isnan(getattr(result, name)[0].ends).all()
        for end in ("", "_low", "_high"):
            assert rows[0][name + end] is None
            assert rows[1][name + end] is not None
    assert rows[0]["length_accuracy"] == rows[3]["length_accuracy"]


def test_the_base_transfers_to_itself_as_it_is(world):
    study, _, lab = world
    result = linear_probes.recipe(linear_probes.queries(study)[0], lab)
    np.testing.assert_array_equal(result.from_base.value, result.accuracy.value)
    np.testing.assert_array_equal(result.to_base.value, result.accuracy.value)


def test_each_checkpoint_is_fitted_once_and_a_cancel_arrives(tmp_path, monkeypatch):
    study, models = small(epochs=1)
    lab = fake_lab(tmp_path, models)
    calls, fit = [], linear_probes.fit
    monkeypatch.setattr(linear_probes, "fit", lambda *given: calls.append(1) or fit(*given))
    reports: list[float] = []
    for query in linear_probes.queries(study):
        linear_probes.recipe(query, lab.watched(lambda fraction, _: reports.append(fraction)))
    assert len(calls) == 2 * (2 * 3 + 2)
    assert reports[-1] == 1.0

    def cancel(_fraction: float, sentence: str) -> None:
        if "layer 2" in sentence:
            raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        linear_probes.recipe(linear_probes.queries(study)[0], fake_lab(tmp_path / "other", models, cancel))


def test_too_few_reviews_of_a_class_are_one_sentence():
    with pytest.raises(UndefinedError, match=r"needs 4 different texts of each class and one has 3; raise"):
        linear_probes.folds(np.array([0, 0, 0, 0, 1, 1, 1]), 0)
    with pytest.raises(UndefinedError, match=r"needs 4 different texts of each class and one has 3"):
        linear_probes.folds(np.tile([0, 0, 0, 1, 1, 1], 5), 0, np.tile(np.arange(6), 5))


def held_out(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Our share of right answers and that of a plain loop over scikit-learn's grouped folds."""
    fold_of = linear_probes.folds(labels, 0, groups)
    ours = linear_probes.fit(features, labels, fold_of, 0, groups).predict(features, fold_of)
    predicted = np.empty_like(labels)
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups):
        search = pipeline()
        search.cv = StratifiedGroupKFold(3, shuffle=True, random_state=0)
        predicted[test] = search.fit(features[train], labels[train], groups=groups[train]).predict(features[test])
    return float((ours == labels).mean()), float((predicted == labels).mean())


def test_copies_of_a_text_do_not_teach_a_probe_its_label():
    """Random labels of 30 texts, each four times: all right where copies are torn apart, chance where they are not."""
    rng = np.random.default_rng(0)
    labels, groups = np.tile(rng.permutation(np.arange(30) % 2), 4), np.tile(np.arange(30), 4)
    features = np.tile(rng.normal(size=(30, 40)), (4, 1))
    ours, plain = held_out(features, labels, groups)
    assert ours == plain and ours < 0.7
    fold_of = linear_probes.folds(labels, 0)
    torn = linear_probes.fit(features, labels, fold_of, 0).predict(features, fold_of)
    assert (torn == labels).mean() == 1


def test_copies_under_contradicting_labels_stay_together():
    rng = np.random.default_rng(1)
    groups = np.tile(np.arange(30), 4)
    labels, features = rng.permutation(np.arange(120) % 2), np.tile(rng.normal(size=(30, 40)), (4, 1))
    ours, plain = held_out(features, labels, groups)
    assert ours == plain and 0.3 < ours < 0.7


def test_a_study_of_copies_is_near_chance(tmp_path):
    """From texts to numbers: 16 reviews with random labels, each three times in other case and white space."""
    study, models = small()
    texts = [change(text) for change in (str, str.upper, "  {}\n".format) for text in study.sample.text[:16]]
    labels = np.tile(np.arange(16) % 2, 3)
    models.residuals = lambda epoch, prompts, layers, width: np.tile(
        np.random.default_rng(epoch).normal(size=(16, layers + 1, 60)).astype(np.float32), (3, 1, 1)
    )
    prompts = make_prompts(study.readers.first, texts, labels)
    assert prompts.groups is not None and prompts.groups.tolist() == [*range(16)] * 3
    result = linear_probes.recipe(
        linear_probes.Query(study.checkpoints[1], study.base, prompts), fake_lab(tmp_path, models)
    )
    torn = replace(prompts, groups=None, digest="torn")
    wrong = linear_probes.recipe(
        linear_probes.Query(study.checkpoints[1], study.base, torn), fake_lab(tmp_path, models)
    )
    assert wrong.accuracy.value.mean() > 0.95
    assert result.accuracy.value.mean() < 0.75


def test_a_study_of_too_few_texts_asks_nothing():
    study, _ = small()
    few = replace(study.prompts, groups=np.arange(48) % 3)
    assert linear_probes.queries(replace(study, prompts=few)) == []


def test_three_classes(tmp_path):
    study, models = small(classes=3)
    result = linear_probes.recipe(linear_probes.queries(study)[3], fake_lab(tmp_path, models))
    assert result.accuracy.value[-1] > 0.5
    assert set(np.unique(result.prediction[1:])) == {0, 1, 2}


def test_intervals_cover_the_accuracy_of_the_five_probes():
    """About 90 % of the time, as docs/analyses/linear_probes.md says; 20 simulations know that to 7 %."""
    assert simulated.cross_validated(40, 8, 0.6, 20)["coverage"] >= 0.75
