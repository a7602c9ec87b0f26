"""Features on a planted dictionary: what was planted is found, against plain loops, and what cannot apply is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import features
from backend.derived.feature_activations import ActiveQuery, active
from backend.errors import AutoencoderError
from backend.lab.lab import Lab
from backend.stats import feature_rates, metrics
from backend.study.pinned import PinnedStudy
from tests.fakes import FakeModels, fake_lab, fake_study

Found = tuple[features.Query, features.Result, PinnedStudy, Lab]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Reference and last epoch of a fake study."""
    models = FakeModels(layers=4, width=16)
    lab, study = fake_lab(tmp_path_factory.mktemp("cache"), models), fake_study(models=models)
    (query,) = features.queries(study)
    return query, features.recipe(query, lab), study, lab


def test_the_default_reads_the_middle_layer_with_both_models(found: Found):
    query, result, study, _ = found
    assert (query.layer, query.features, query.k, result.layer) == (2, 64, 16, 2)
    assert [one.label for one in query.source.checkpoints] == ["base", "epoch 3"]  # type: ignore[union-attr]
    assert [q.reference.label for q in features.queries(study, "epoch 1")] == ["epoch 1"]


def test_what_was_planted_comes_and_goes(found: Found):
    _, result, _, _ = found
    counts = np.bincount(result.state, minlength=4)
    assert counts.tolist() == [10, 1, 1, 52]  # twelve planted, one new in the epochs and one the base's alone
    appeared, vanished = (int(np.flatnonzero(result.state == i)[0]) for i in (1, 2))
    assert result.rate[0, appeared] < 0.01 < result.rate[1, appeared]
    assert result.rate[1, vanished] < 0.01 < result.rate[0, vanished]
    assert result.change.value[appeared] == pytest.approx(result.rate[1, appeared] - result.rate[0, appeared])
    assert result.change.low[appeared] > 0 > result.change.high[vanished]
    assert result.dead.tolist() == [52 / 64, 52 / 64]


def test_numbers_are_those_of_a_plain_loop_over_tokens(found: Found):
    query, result, study, lab = found
    read = [
        active(ActiveQuery(query.source, checkpoint, study.prompts), lab)
        for checkpoint in (query.reference, query.checkpoint)
    ]
    kept = ~(read[0].left_out | read[1].left_out)
    assert (result.tokens, result.left_out) == (kept.sum(), (~kept).sum())
    feature = int(np.argmax(result.rate[1]))
    for m, one in enumerate(read):
        fires = np.array([values[index == feature].sum() for index, values in zip(one.index, one.value, strict=True)])
        fires = np.where(kept, fires, 0.0)
        assert result.rate[m, feature] == pytest.approx((fires > 0).sum() / kept.sum())
        assert result.mean[m, feature] == pytest.approx(fires.sum() / kept.sum(), rel=1e-5)
        assert result.mean_when_firing[m, feature] == pytest.approx(fires[fires > 0].mean(), rel=1e-5)
        largest = np.array([fires[one.review == r].max() for r in range(60)])
        assert result.auc[m, 0, feature] == pytest.approx(metrics.auc(largest[:, None], study.prompts.labels))


def test_planted_features_of_the_classes_are_found(found: Found):
    query, result, _, lab = found
    sure = np.flatnonzero(result.q[1, 0] <= features.SURE)
    decoder = lab.autoencoder(query.source).decoder  # type: ignore[arg-type]
    assert {0, 1} <= {int(np.argmax(np.abs(row @ _planted().T))) for row in decoder[sure]}
    assert (result.q[1, 0, sure] >= result.p[1, 0, sure]).all()


def _planted() -> np.ndarray:
    from tests.fake_autoencoders import _dictionary

    return _dictionary(16)


def test_the_cosine_is_that_with_the_class_direction_of_each_model(found: Found):
    query, result, study, lab = found
    decoder = lab.autoencoder(query.source).decoder  # type: ignore[arg-type]
    for m, one in enumerate((query.reference, query.checkpoint)):
        residuals = lab.readout(one, study.prompts).residuals[:, query.layer].astype(np.float64)
        d = residuals[study.prompts.labels == 1].mean(axis=0) - residuals[study.prompts.labels == 0].mean(axis=0)
        expected = decoder @ d / np.linalg.norm(d) / np.linalg.norm(decoder, axis=1)
        assert result.cosine[m, 0] == pytest.approx(expected, abs=1e-5)


def test_promoted_tokens_are_those_of_the_largest_logits(found: Found):
    query, result, _, lab = found
    decoder = lab.autoencoder(query.source).decoder  # type: ignore[arg-type]
    tokenizer = lab.models.tokenizer(query.checkpoint.ref, query.checkpoint.base)
    ids = tuple(range(tokenizer.get_vocab_size()))
    logits = lab.models.label_logits(decoder[7], ids, query.checkpoint, query.checkpoint, lab.progress)
    best = [tokenizer.id_to_token(int(i)) for i in np.argsort(-logits)[: features.PROMOTED]]
    assert [word.replace("␣", " ") for word in result.promotes(1, 7)] == best


def test_losses_recover_four_fifths_of_what_ablation_loses(found: Found):
    _, result, _, _ = found
    assert result.loss_recovered == pytest.approx([0.8, 0.8], abs=1e-3)
    assert result.losses[0, 1] - result.losses[0, 0] == pytest.approx(2, abs=0.1)
    by_hand = features.fraction_recovered(np.array([[3.0, 5.0, 3.5], [3.0, 3.0, 3.0]]))
    assert by_hand[0] == 0.75 and np.isnan(by_hand[1])


def test_rows_are_one_per_feature_and_model(found: Found):
    query, result, _, _ = found
    rows = list(result.rows(query))
    assert len(rows) == 2 * 64
    assert {row["checkpoint"] for row in rows} == {"base", "epoch 3"}
    dead = int(np.flatnonzero(result.rate.max(axis=0) == 0)[0])
    assert rows[dead]["auc"] is None and rows[dead]["mean_when_firing"] is None and rows[dead]["rate"] == 0


def test_three_classes_are_separated_one_by_one(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models, classes=3), fake_lab(tmp_path, models)
    (query,) = features.queries(study)
    result = features.recipe(query, lab)
    assert result.auc.shape == (2, 3, 64)
    rows = list(result.rows(query))
    assert len(rows) == 2 * 64 * 3 and [row["class"] for row in rows[:3]] == [0, 1, 2]


def test_one_model_alone_and_the_same_one_twice(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models), fake_lab(tmp_path, models)
    query = replace(features.queries(study)[0], trained_on="reference")
    assert query.source.checkpoints == (study.base,)  # type: ignore[union-attr]
    assert replace(query, trained_on="checkpoint").source.checkpoints == (study.checkpoints[-1],)  # type: ignore[union-attr]
    same = replace(query, checkpoint=study.base)
    result = features.recipe(same, lab)
    assert not result.change.value.any() and len(list(result.rows(same))) == 64
    assert not set(result.state.tolist()) & {
        feature_rates.STATES.index("appeared"),
        feature_rates.STATES.index("vanished"),
    }


def test_an_encoder_scores_no_tokens(tmp_path: Path):
    class Encoders(FakeModels):
        def facts(self, ref, base):  # type: ignore[no-untyped-def]
            return replace(super().facts(ref, base), kind="encoder", answers=2)

    models = Encoders(layers=2, width=16)
    study, lab = fake_study(models=models), fake_lab(tmp_path, models)
    (query,) = features.queries(study)
    result = features.recipe(query, lab)
    assert result.words == () and np.isnan(result.losses).all() and np.isnan(result.loss_recovered).all()
    assert next(result.rows(query))["promoted"] == ""


def test_the_cost_grows_with_the_autoencoder(found: Found):
    query, _, _, lab = found
    wide = replace(query, features=4 * query.features)
    assert lab.seconds(wide) > lab.seconds(query)


def test_an_autoencoder_of_another_width_is_an_error(found: Found, tmp_path: Path):
    from backend.derived.feature_activations import open_folder
    from backend.lab.autoencoders import About

    query, _, _, lab = found
    other = fake_lab(tmp_path, FakeModels(layers=4, width=8))
    narrow = fake_study(models=FakeModels(layers=4, width=8))
    trained = other.autoencoder(features.queries(narrow)[0].source)  # type: ignore[arg-type]
    other.autoencoders.write(trained, tmp_path / "files", About("m", 4, 1, "d"))
    opened = replace(query, opened=open_folder(str(tmp_path / "files")))
    with pytest.raises(AutoencoderError, match="width 8"):
        features.recipe(opened, lab)
