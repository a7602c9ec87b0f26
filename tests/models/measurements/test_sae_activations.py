"""What fires at every token, and what reconstruction costs, against plain transformers and numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from backend.caching.progress import silent
from backend.errors import AutoencoderError, Cancelled, CheckpointError, UndefinedError
from backend.lab.autoencoders import decode, encode
from backend.lab.outputs import Autoencoder
from backend.models.local import LocalModels
from backend.models.measurements import layer_residuals, sae_activations
from backend.models.runtime.components import anatomy_of
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from backend.training.local_autoencoders import LocalAutoencoders
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import LAYERS, WIDTH, Pin, make_prompts, random_model, save
from tests.models.references import plain_residuals

FEATURES, K = 80, 6
FAMILIES = ("gpt2", "llama", "qwen3", "Bert", "DistilBert")
CAUSAL = ("gpt2", "llama", "mistral")


def random_autoencoder(
    layer: int, k: int = K, threshold: float = 0.0, width: int = WIDTH, seed: int = 0
) -> Autoencoder:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(FEATURES, width)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    bias = generator.normal(size=FEATURES).astype(np.float32)
    mean = generator.normal(size=width).astype(np.float32)
    return Autoencoder(layer, k, rows.T.copy(), bias, rows, mean, np.full(FEATURES, threshold, np.float32))


def made(name: str, folder: Path, pin: Pin) -> tuple[PinnedCheckpoint, PreTrainedModel, Prompts]:
    """A random model of the family on disk and in memory, and prompts for it."""
    if name in ("Bert", "DistilBert"):
        model, prompts = encoder(name), some_prompts()
    else:
        model, prompts = random_model(name, seed=3), make_prompts([5, 17, 1, 40, 9, 23])
    return pin(save(model, folder / name)), model, prompts


def counting(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All residuals as one array, and which count."""
    every = np.concatenate(rows)
    norm = np.linalg.norm(every.astype(np.float64), axis=1)
    later = np.concatenate([np.arange(len(one)) > 0 for one in rows])
    return every, later & (norm <= 10 * np.median(norm[later]))


@pytest.mark.parametrize("layer", [0, 2, LAYERS])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_fires_equals_plain_transformers_and_numpy(
    name: str, layer: int, models: LocalModels, pin: Pin, tmp_path: Path
):
    checkpoint, model, prompts = made(name, tmp_path, pin)
    one = random_autoencoder(layer)
    found = LocalAutoencoders(models).activations(one, checkpoint, prompts, layer, silent)
    every, counts = counting(plain_residuals(model, prompts, layer))
    fires = encode(one, every)
    dense = np.zeros_like(fires)
    np.put_along_axis(dense, found.index, found.value, axis=1)
    np.testing.assert_allclose(dense, fires, rtol=1e-3, atol=1e-3)
    assert (np.diff(found.value, axis=1) <= 0).all()
    assert found.index.shape == (int(prompts.lengths.sum()), K)
    np.testing.assert_array_equal(found.review, np.repeat(np.arange(len(prompts.token_ids)), prompts.lengths))
    np.testing.assert_array_equal(found.position[: prompts.lengths[0]], np.arange(prompts.lengths[0]))
    np.testing.assert_array_equal(found.left_out, ~counts)
    error = ((every - decode(one, fires)) ** 2).sum(axis=1)
    spread = ((every - every[counts].mean(axis=0)) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.error, error, rtol=1e-3)
    np.testing.assert_allclose(found.spread[counts], spread[counts], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.norm, np.linalg.norm(every, axis=1), rtol=1e-3)
    if spread[counts].sum() > 1e-6:
        expected = 1 - error[counts].sum() / spread[counts].sum()
        assert found.explained_variance == pytest.approx(expected, rel=1e-3)
    assert found.l0 == pytest.approx((fires > 0).sum(axis=1)[counts].mean(), rel=1e-3)
    assert not found.value.flags.writeable


def test_all_that_exceed_their_threshold_fire_without_topk(
    models: LocalModels, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoint, model, prompts = made("gpt2", tmp_path, pin)
    one = random_autoencoder(1, k=FEATURES, threshold=0.7)
    monkeypatch.setattr(sae_activations, "MOST_KEPT", 3)
    found = LocalAutoencoders(models).activations(one, checkpoint, prompts, 1, silent)
    every, counts = counting(plain_residuals(model, prompts, 1))
    fires = encode(one, every)
    assert fires[fires > 0].min() > 0.7
    assert found.l0 == pytest.approx((fires > 0).sum(axis=1)[counts].mean(), rel=1e-3)
    assert found.l0 > 3
    np.testing.assert_allclose(found.value, -np.sort(-fires, axis=1)[:, :3], rtol=1e-3)
    np.testing.assert_allclose(found.error, ((every - decode(one, fires)) ** 2).sum(axis=1), rtol=1e-3)


def test_pieces_change_nothing_but_the_median(
    models: LocalModels, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoint, _, prompts = made("gpt2", tmp_path, pin)
    one, port = random_autoencoder(1), LocalAutoencoders(models)
    whole = port.activations(one, checkpoint, prompts, 1, silent)
    monkeypatch.setattr(
        sae_activations, "pieces", lambda order, *rest: layer_residuals.pieces(order, *rest, most_bytes=45 * WIDTH * 4)
    )
    monkeypatch.setattr(sae_activations, "CHUNK_VALUES", 7 * FEATURES)
    fractions: list[float] = []
    parts = port.activations(one, checkpoint, prompts, 1, lambda fraction, _: fractions.append(fraction))
    np.testing.assert_array_equal(parts.review, whole.review)
    np.testing.assert_allclose(parts.value, whole.value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.error, whole.error, rtol=1e-4)
    assert fractions == sorted(fractions)


def test_prompts_are_cut_into_pieces_that_fit():
    prompts = make_prompts([5, 17, 1, 40, 9, 23])
    assert layer_residuals.pieces(range(6), prompts, 1, most_bytes=26 * 4) == [[0, 1, 2], [3], [4], [5]]
    assert layer_residuals.pieces([5, 0, 3], prompts, 1, most_bytes=10**9) == [[5, 0, 3]]


def test_a_position_that_attention_rests_on_does_not_count():
    norm = np.array([1, 2, 3, 50, 1, 2, 20], np.float32)
    position = np.array([0, 1, 2, 3, 0, 1, 2], np.int32)
    np.testing.assert_array_equal(layer_residuals.left_out(norm, position), [1, 0, 0, 1, 1, 0, 0])
    with pytest.raises(AutoencoderError, match="position 0 is left out"):
        layer_residuals.left_out(norm[:1], position[:1])


def plain_losses(
    model: PreTrainedModel,
    prompts: Prompts,
    layer: int,
    through: Callable[[np.ndarray, np.ndarray], np.ndarray],
    longest: float,
) -> np.ndarray:
    """Summed cross entropy of each prompt alone, its residuals changed by `through` where they count."""
    blocks = anatomy_of(model).blocks

    def change(x: torch.Tensor) -> torch.Tensor:
        rows = x[0].numpy().copy()
        counts = (np.arange(len(rows)) > 0) & (np.linalg.norm(rows, axis=1) <= longest)
        return torch.from_numpy(through(rows, counts))[None]

    def entering(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (
            ((change(args[0]), *args[1:]), kwargs)
            if args
            else (args, kwargs | {"hidden_states": change(kwargs["hidden_states"])})
        )

    def leaving(_module: Any, _args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    if layer < LAYERS:
        hook = blocks[layer].whole.register_forward_pre_hook(entering, with_kwargs=True)
    else:
        hook = blocks[-1].whole.register_forward_hook(leaving)
    found = []
    for ids in prompts.token_ids:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].numpy().astype(np.float64)
        logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        found.append(-logprobs[np.arange(len(ids) - 1), ids[1:]].sum())
    hook.remove()
    return np.array(found)


@pytest.mark.parametrize("layer", [0, 2, LAYERS])
@pytest.mark.parametrize("name", CAUSAL)
def test_losses_equal_plain_transformers_and_numpy(
    name: str, layer: int, models: LocalModels, pin: Pin, tmp_path: Path
):
    checkpoint, model, prompts = made(name, tmp_path, pin)
    one = random_autoencoder(layer)
    found = LocalAutoencoders(models).loss_recovered(one, checkpoint, prompts, layer, silent)
    every, counts = counting(plain_residuals(model, prompts, layer))
    mean = every[counts].mean(axis=0)
    longest = 10 * float(
        np.median(np.linalg.norm(every, axis=1)[np.concatenate([np.arange(n) > 0 for n in prompts.lengths])])
    )
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "clean": lambda rows: rows,
        "ablated": lambda rows: np.tile(mean, (len(rows), 1)),
        "reconstructed": lambda rows: decode(one, encode(one, rows)),
    }
    for way, into in ways.items():

        def through(
            rows: np.ndarray, counts: np.ndarray, into: Callable[[np.ndarray], np.ndarray] = into
        ) -> np.ndarray:
            rows[counts] = into(rows[counts])
            return rows

        expected = plain_losses(model, prompts, layer, through, longest)
        np.testing.assert_allclose(getattr(found, way), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found.predicted, prompts.lengths - 1)
    assert np.abs(found.ablated - found.clean).max() > 1


def test_encoders_have_no_loss_to_recover(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint, _, prompts = made("Bert", tmp_path, pin)
    with pytest.raises(UndefinedError, match="predicts no tokens, so loss recovered is undefined"):
        LocalAutoencoders(models).loss_recovered(random_autoencoder(1), checkpoint, prompts, 1, silent)


def test_what_does_not_fit_together_is_an_error(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint, _, prompts = made("gpt2", tmp_path, pin)
    port = LocalAutoencoders(models)
    with pytest.raises(AutoencoderError, match=r"reads residuals of width 16, but .* has width 32"):
        port.activations(random_autoencoder(1, width=16), checkpoint, prompts, 1, silent)
    with pytest.raises(AutoencoderError, match=r"Layer 4 is not a layer of .*; choose one from 0 to 3"):
        port.activations(random_autoencoder(4), checkpoint, prompts, 4, silent)
    empty = layer_residuals.some(prompts, [])
    with pytest.raises(CheckpointError, match="There are no prompts"):
        port.loss_recovered(random_autoencoder(1), checkpoint, empty, 1, silent)


def test_an_interrupted_reading_leaves_the_model_as_it_was(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint, _, prompts = made("gpt2", tmp_path, pin)
    before = models.readout(checkpoint, prompts, silent)
    port = LocalAutoencoders(models)

    def cancel(fraction: float, _sentence: str) -> None:
        if fraction > 0.2:
            raise Cancelled("no longer wanted")

    for ask in (port.activations, port.loss_recovered):
        with pytest.raises(Cancelled):
            ask(random_autoencoder(1), checkpoint, prompts, 1, cancel)
    after = models.readout(checkpoint, prompts, silent)
    np.testing.assert_array_equal(before.residuals, after.residuals)
    with models.store.borrow(checkpoint) as loaded:
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in loaded.model.modules())
