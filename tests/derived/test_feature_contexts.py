"""Where one feature fires: by hand, and on the planted dictionary against what fires at each token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.caching.progress import silent
from backend.derived import feature_contexts
from backend.derived.feature_activations import ActiveQuery, active
from backend.derived.feature_contexts import AROUND, ContextQuery, highest
from backend.errors import AutoencoderError
from backend.lab.autoencoders import AutoencoderQuery, AutoencoderSpec
from backend.study.typed_texts import read_typed
from backend.vocabulary.display import pieces
from tests.fakes import FakeModels, fake_lab, fake_study


def test_one_token_of_a_review_and_the_largest_first():
    review = np.array([0, 0, 1, 1, 2, 3])
    assert highest(np.array([1.0, 5.0, 2.0, 7.0, 0.0, 6.0]), review, 9).tolist() == [3, 5, 1]
    assert highest(np.array([1.0, 5.0, 2.0, 7.0, 0.0, 6.0]), review, 2).tolist() == [3, 5]
    assert highest(np.zeros(6), review, 3).tolist() == []


def test_contexts_are_the_texts_around_what_fires_most(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models, epochs=1), fake_lab(tmp_path, models)
    source = AutoencoderQuery(study.checkpoints, study.prompts, AutoencoderSpec(1, 32, 8))
    base, last = study.checkpoints
    read = [active(ActiveQuery(source, one, study.prompts), lab) for one in (base, last)]
    feature = int(read[1].index[np.argmax(read[1].value[:, 0]), 0])
    query = ContextQuery(last, base, study.prompts, source, feature, most=5)
    found = feature_contexts.contexts(query, lab)
    dense = [feature_contexts.at_tokens(one, feature) * ~one.left_out for one in read]
    assert np.array_equal(found.reference, dense[0][dense[0] > 0])
    assert np.array_equal(found.checkpoint, dense[1][dense[1] > 0])
    assert len(found.of(1)) == 5 and len(set(found.review[found.of(1)].tolist())) == 5
    tokenizer = lab.models.tokenizer(base.ref, base.base)
    for i in range(len(found.model)):
        m, review, start = int(found.model[i]), int(found.review[i]), int(found.start[i])
        of_review = dense[m][read[m].review == review]
        assert np.argmax(of_review) == found.position[i]
        ids = study.prompts.token_ids[review][start : start + len(found.pieces[i])]
        assert pieces(tokenizer, ids) == found.pieces[i] and len(ids) <= 2 * AROUND + 1
        for of in range(2):
            values = dense[of][read[of].review == review][start : start + len(ids)]
            assert np.array_equal(found.value[i, of, : len(ids)], values)
            assert np.isnan(found.value[i, of, len(ids) :]).all()
    rows = list(found.rows(query, study.sample.index))
    assert len(rows) == 2 * sum(map(len, found.pieces))
    assert rows[0]["review"] == int(study.sample.index[found.review[0]])


def test_a_feature_that_never_fires_has_no_context(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models, epochs=1), fake_lab(tmp_path, models)
    source = AutoencoderQuery(study.checkpoints, study.prompts, AutoencoderSpec(1, 32, 8))
    base, last = study.checkpoints
    fires = set(active(ActiveQuery(source, base, study.prompts), lab).index.ravel().tolist())
    dead = next(i for i in range(1, 32) if i not in fires)
    found = feature_contexts.contexts(ContextQuery(last, base, study.prompts, source, dead), lab)
    assert not len(found.reference) or found.of(0)
    assert list(found.of(0)) == [] and found.value.shape[1:] == (2, 2 * AROUND + 1)


def test_a_feature_of_a_text_is_what_the_autoencoder_makes_of_its_residuals(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    study, lab = fake_study(models=models, epochs=1), fake_lab(tmp_path, models)
    source = AutoencoderQuery(study.checkpoints, study.prompts, AutoencoderSpec(1, 32, 8))
    typed = read_typed(study.readers, "The end.")
    residuals = lab.models.read_text(study.base, typed.prompts, 1, silent).residuals
    autoencoder = lab.autoencoder(source)
    before = (residuals - autoencoder.decoder_bias) @ autoencoder.encoder + autoencoder.encoder_bias
    largest = np.sort(before, axis=-1)[..., -8:].min(axis=-1, keepdims=True)
    wanted = np.where((before >= largest) & (before > 0), before, 0.0)
    feature = int(np.argmax(wanted[1:].sum(axis=(0, 1))))
    found = feature_contexts.in_text(feature_contexts.TextQuery(study.base, source, typed.prompts, feature), lab)
    assert found.layer == 1 and found.activation.shape == residuals.shape[:2]
    assert np.isnan(found.activation[0]).all()
    np.testing.assert_allclose(found.activation[1:], wanted[1:, :, feature], rtol=1e-4, atol=1e-5)
    query = feature_contexts.TextQuery(study.base, source, typed.prompts, feature)
    rows = list(found.rows(query, typed.pieces))
    assert len(rows) == found.activation.size and rows[0]["activation"] is None
    with pytest.raises(AutoencoderError, match="0 to 31"):
        feature_contexts.in_text(feature_contexts.TextQuery(study.base, source, typed.prompts, 32), lab)
