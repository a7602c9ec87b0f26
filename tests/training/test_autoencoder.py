"""Training: a planted dictionary is found, seeds decide, cancel is heard, and models of every family supply it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.caching.cache import Cache
from backend.caching.progress import Progress, silent
from backend.errors import AutoencoderError, Cancelled, DeviceError
from backend.lab.autoencoders import AutoencoderSpec, Point, decode, encode
from backend.lab.outputs import Trained
from backend.models.local import LocalModels
from backend.models.measurements import layer_residuals
from backend.models.measurements.layer_residuals import Tokens
from backend.study.checkpoint import PinnedCheckpoint
from backend.training import autoencoder
from backend.training.autoencoder import Stream, dead_window, rate, train
from backend.training.local_autoencoders import LocalAutoencoders
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import WIDTH, make_prompts, random_model, ref, save

CPU = torch.device("cpu")
SPEC = AutoencoderSpec(layer=1, features=48, k=3, tokens=60_000, batch=200, learning_rate=1e-2)


def as_tokens(x: np.ndarray) -> Tokens:
    """Residuals of which all count."""
    count = len(x)
    zero = np.zeros(count, np.int32)
    return Tokens(x, np.linalg.norm(x, axis=1), zero, zero + 1, np.zeros(count, bool))


def planted(count: int = 4000, width: int = 24, features: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of three directions each, about a mean, and the directions."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(features, width))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    fires = np.zeros((count, features))
    for one in fires:
        one[generator.choice(features, 3, replace=False)] = generator.uniform(20, 40, 3)
    return (fires @ rows + 100 * generator.normal(size=width)).astype(np.float32), rows


def trained(x: np.ndarray, spec: AutoencoderSpec = SPEC, progress: Progress = silent) -> Trained:
    return train(spec, lambda _number, _report: [as_tokens(x)], 1, CPU, progress)


def test_a_planted_dictionary_is_found():
    x, rows = planted()
    found = trained(x)
    cosine = found.decoder @ rows.T.astype(np.float32)
    assert np.mean(cosine.max(axis=0) > 0.95) > 0.9
    rebuilt = decode(found, encode(found, x))
    explained = 1 - ((x - rebuilt) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    assert explained > 0.9
    assert found.explained_variance[-1] == pytest.approx(explained, abs=0.03)
    np.testing.assert_allclose(np.linalg.norm(found.decoder, axis=1), 1, rtol=1e-5)
    assert (found.tokens, found.distinct, found.left_out) == (60_000, 4000, 0)
    assert found.step[-1] == 300
    assert found.loss[-1] < 0.3 * found.loss[0]
    assert found.decoder.dtype == np.float32
    assert not found.encoder.flags.writeable


def test_the_unit_of_residuals_changes_features_alike():
    x, _ = planted(1000)
    short = replace(SPEC, tokens=4000)
    one, large = trained(x, short), trained(64 * x, short)
    np.testing.assert_allclose(large.decoder, one.decoder, atol=1e-3)
    np.testing.assert_allclose(encode(large, 64 * x[:50]), 64 * encode(one, x[:50]), rtol=1e-2, atol=1)


def test_equal_seeds_give_equal_weights_and_others_do_not():
    x, _ = planted(600)
    short = replace(SPEC, tokens=2000)
    one, again, other = trained(x, short), trained(x, short), trained(x, replace(short, seed=1))
    for name in ("encoder", "encoder_bias", "decoder", "decoder_bias", "loss"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert np.abs(one.decoder - other.decoder).max() > 0.1


def test_it_is_watched_and_can_be_cancelled_at_any_step(monkeypatch: pytest.MonkeyPatch):
    x, _ = planted(600)
    monkeypatch.setattr(autoencoder, "PATIENCE", 0.0)
    points: list[Point] = []
    said: list[tuple[float, str]] = []
    spec = replace(SPEC, tokens=2000)
    train(spec, lambda _n, _r: [as_tokens(x)], 1, CPU, lambda *given: said.append(given), points.append)
    assert [point.step for point in points] == list(range(1, 11))
    assert [fraction for fraction, _ in said] == sorted(fraction for fraction, _ in said)
    assert "Step 10 of 10: loss 0." in said[-1][1]

    def cancel(_fraction: float, sentence: str) -> None:
        if sentence.startswith("Step 4 "):
            raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        trained(x, spec, cancel)


def test_pieces_are_read_again_and_one_piece_is_not():
    x, _ = planted(90)
    asked: list[int] = []

    def read(number: int, _report: Progress) -> Sequence[Tokens]:
        asked.append(number)
        return [as_tokens(x[30 * number : 30 * number + 30])]

    stream = Stream(read, 3, 0, silent)
    batches = stream.batches(10)
    drawn = [next(batches) for _ in range(10)]
    assert asked == [0, 1, 2, 0]
    assert (stream.distinct, stream.left_out) == (90, 0)
    seen = torch.cat(drawn[:9]).numpy()
    np.testing.assert_array_equal(np.sort(seen, axis=0), np.sort(x, axis=0))
    asked.clear()
    batches = Stream(lambda n, r: [read(n, r)[0]], 1, 0, silent).batches(10)
    passes = [torch.cat([next(batches) for _ in range(3)]).numpy() for _ in range(2)]
    assert asked == [0]
    assert np.abs(passes[0] - passes[1]).max() > 1
    np.testing.assert_array_equal(np.sort(passes[0], axis=0), np.sort(passes[1], axis=0))


def test_tokens_that_do_not_count_are_not_trained_on():
    x, _ = planted(40)
    tokens = replace(as_tokens(x), left_out=np.arange(40) % 4 == 0)
    stream = Stream(lambda _n, _r: [tokens, tokens], 1, 0, silent)
    assert (stream.distinct, stream.left_out) == (60, 20)
    np.testing.assert_array_equal(stream.rows[:30].numpy(), x[~tokens.left_out])


def test_the_rate_rises_stays_and_falls():
    rates = [rate(step, 100) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:80] == [1.0] * 75
    assert rates[99] == pytest.approx(0.05)
    assert rate(0, 1) == 1.0
    assert dead_window(replace(SPEC, tokens=10**6)) == 100_000


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"k": 49}, "k is 49; choose a number from 1 to 48"),
        ({"tokens": 100}, "do not fill a batch"),
        ({"learning_rate": 0.0}, "choose one above 0"),
        ({"learning_rate": float("inf")}, "Training diverged"),
    ],
)
def test_a_spec_that_cannot_be_is_said_in_a_sentence(change: dict[str, float], sentence: str):
    with pytest.raises(AutoencoderError, match=sentence):
        trained(planted(600)[0], replace(SPEC, **{"tokens": 1000} | change))


def test_a_device_that_is_too_small_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def full(*_given: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(autoencoder, "_fit", full)
    with pytest.raises(DeviceError, match="choose fewer features or a smaller batch"):
        trained(planted(600)[0])


@pytest.mark.parametrize("name", ["gpt2", "llama", "Bert"])
def test_base_and_checkpoint_train_one_autoencoder_together(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = LocalModels(Cache(tmp_path / "cache"))
    made = [encoder(name, seed=seed) if name == "Bert" else random_model(name, seed) for seed in (1, 2)]
    prompts = some_prompts() if name == "Bert" else make_prompts([9, 30, 21, 40])
    places = [ref(save(model, tmp_path / label), label) for label, model in zip(("base", "epoch 1"), made, strict=True)]
    checkpoints = tuple(
        PinnedCheckpoint(models.fingerprint(one, one), "float32", one, one, models.facts(one, one)) for one in places
    )
    monkeypatch.setattr(layer_residuals, "PIECE_BYTES", 110 * WIDTH * 4)
    spec = AutoencoderSpec(layer=2, features=64, k=12, tokens=2400, batch=20, learning_rate=1e-2)
    port = LocalAutoencoders(models)
    heard: list[str] = []
    found = port.train(checkpoints, prompts, spec, lambda _, sentence: heard.append(sentence))
    assert found.distinct + found.left_out == 2 * prompts.lengths.sum()
    assert found.left_out >= 2 * len(prompts.token_ids)
    assert any(sentence.startswith("Reading base") for sentence in heard)
    assert any(sentence.startswith("Reading epoch 1") for sentence in heard)
    alone = port.train(checkpoints[:1], prompts, spec, silent)
    for checkpoint in checkpoints:
        both = port.activations(found, checkpoint, prompts, 2, silent)
        assert both.explained_variance > 0.1
    own = [port.activations(alone, one, prompts, 2, silent).explained_variance for one in checkpoints]
    assert own[0] > own[1]
    monkeypatch.undo()
    guess = port.seconds(spec, 32)
    port.train(checkpoints[:1], prompts, replace(spec, batch=10), silent)
    assert port.seconds(spec, 32) != guess
    assert port.seconds(replace(spec, tokens=4800), 32) == pytest.approx(2 * port.seconds(spec, 32))
    with pytest.raises(AutoencoderError, match="No checkpoint was chosen"):
        port.train((), prompts, spec, silent)
    with pytest.raises(AutoencoderError, match=r"Layer 9 is not a layer of .*; choose one from 0 to 3"):
        port.train(checkpoints, prompts, replace(spec, layer=9), silent)
