"""What fires and what it stands for, by hand; an autoencoder is trained once per query and can be watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.lab.autoencoders import AutoencoderQuery, AutoencoderSpec, decode, encode
from backend.lab.lab import train_autoencoder
from backend.lab.outputs import Autoencoder, Trained
from tests.fake_autoencoders import FakeAutoencoders
from tests.fakes import fake_lab, fake_study


def by_hand(k: int, threshold: tuple[float, ...] = (0, 0, 0)) -> Autoencoder:
    """Three features on two dimensions; the third is the negative of the first."""
    rows = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    bias = np.array([0, 0.5, 0], np.float32)
    return Autoencoder(2, k, rows.T.copy(), bias, rows, np.array([1, 1], np.float32), np.array(threshold, np.float32))


def test_the_largest_fire_and_are_added_to_the_bias():
    x = np.array([[3, 2], [0, 1], [1, 0.5], [-9, 9]], np.float32)
    np.testing.assert_allclose(encode(by_hand(3), x), [[2, 1.5, 0], [0, 0.5, 1], [0, 0, 0], [0, 8.5, 10]])
    np.testing.assert_allclose(encode(by_hand(1), x), [[2, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 10]])
    np.testing.assert_allclose(encode(by_hand(3, (2, 1, 0)), x), [[0, 1.5, 0], [0, 0, 1], [0, 0, 0], [0, 8.5, 10]])
    np.testing.assert_allclose(decode(by_hand(3), encode(by_hand(3), x)), [[3, 2.5], [0, 1.5], [1, 1], [-9, 9.5]])


@pytest.fixture
def query() -> AutoencoderQuery:
    study = fake_study(reviews=12)
    return AutoencoderQuery((study.base, study.checkpoints[1]), study.prompts, AutoencoderSpec(6, 64, 4))


def test_an_autoencoder_is_trained_once_for_each_query(query: AutoencoderQuery, tmp_path: Path):
    lab = fake_lab(tmp_path)
    first, again = lab.autoencoder(query), lab.autoencoder(query)
    assert isinstance(lab.autoencoders, FakeAutoencoders)
    assert len(lab.autoencoders.trained) == 1
    np.testing.assert_array_equal(first.decoder, again.decoder)
    assert first.decoder.dtype == np.float32
    for change in ({"seed": 1}, {"k": 5}, {"layer": 7}, {"features": 65}, {"tokens": 9}, {"batch": 8}):
        lab.autoencoder(replace(query, spec=replace(query.spec, **change)))
    lab.autoencoder(replace(query, spec=replace(query.spec, learning_rate=0.5)))
    lab.autoencoder(replace(query, checkpoints=query.checkpoints[:1]))
    assert len(lab.autoencoders.trained) == 9


def test_training_can_be_watched_while_it_goes_on_and_not_after(query: AutoencoderQuery, tmp_path: Path):
    seen: list[int] = []
    plain = fake_lab(tmp_path)
    lab = plain.watched(lambda _fraction, _sentence: seen.append(len(plain.training_curve(query))))
    found = lab.autoencoder(query)
    assert isinstance(found, Trained)
    assert seen[:10] == list(range(1, 11))
    assert plain.training_curve(query) == ()


def test_a_training_that_fails_leaves_no_curve(query: AutoencoderQuery, tmp_path: Path):
    plain = fake_lab(tmp_path)

    def fails(_fraction: float, _sentence: str) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        plain.watched(fails).autoencoder(query)
    assert plain.training_curve(query) == ()
    assert train_autoencoder.peek(query, plain) is None


def test_what_is_still_to_be_trained_is_in_the_estimate(query: AutoencoderQuery, tmp_path: Path):
    lab = fake_lab(tmp_path)
    tokens = int(query.prompts.lengths.sum())
    reading = sum(lab.models.reading(one, tokens) for one in query.checkpoints)
    opening = sum(lab.models.opening(one) for one in query.checkpoints)
    expected = reading + opening + lab.autoencoders.seconds(query.spec, 32)
    assert lab.seconds(query) == pytest.approx(expected)
    assert lab.seconds(query, query) == pytest.approx(expected), "the same work counts once"


def test_the_fake_explains_its_planted_residuals(query: AutoencoderQuery, tmp_path: Path):
    lab = fake_lab(tmp_path)
    trained = lab.autoencoder(replace(query, spec=replace(query.spec, k=12)))
    found = lab.autoencoders.activations(trained, query.checkpoints[0], query.prompts, 6, lab.progress)
    assert len(found.review) == query.prompts.lengths.sum()
    assert found.explained_variance > 0.8
    assert 0 < found.l0 < 12
    assert ((found.value > 0).sum(axis=1)[~found.left_out].mean()) == pytest.approx(found.l0)
