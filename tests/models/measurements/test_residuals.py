"""Residuals and logits against plain transformers, one prompt at a time, and against TransformerLens."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError, DeviceError
from backend.lab.outputs import Readout
from backend.models.local import LocalModels
from backend.models.measurements import residuals
from backend.models.measurements.residuals import collect
from backend.study.token_ids import Prompts
from tests.models.random_models import LABEL_TOKENS, LAYERS, WIDTH, Pin, make_prompts, random_model, save
from tests.models.references import final_norm, hooks, one_at_a_time


def readout(models: LocalModels, pin: Pin, folder: Path, prompts: Prompts, **options: int) -> Readout:
    with models.store.borrow(pin(folder)) as loaded:
        return collect(loaded, prompts, silent, **options)


def test_equals_plain_transformers_one_prompt_at_a_time(models: LocalModels, pin: Pin, folder: Path, prompts: Prompts):
    hidden, normed, logits = one_at_a_time(folder, prompts)
    assert logits.std() > 1  # else anything would pass
    found = readout(models, pin, folder, prompts)
    assert found.residuals.shape == (len(prompts.token_ids), LAYERS + 1, WIDTH)
    np.testing.assert_allclose(found.residuals[:, :-1], hidden, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(final_norm(folder, found.residuals[:, -1]), normed, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.logits, logits[:, LABEL_TOKENS], rtol=1e-4, atol=1e-4)


def test_equals_transformer_lens(models: LocalModels, pin: Pin, folder: Path):
    prompts = make_prompts([5, 9, 30])
    found = readout(models, pin, folder, prompts)
    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu")
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(LAYERS)] + [f"blocks.{LAYERS - 1}.hook_resid_post"]
    for i, ids in enumerate(prompts.token_ids):
        logits, cache = bridge.run_with_cache(torch.tensor([ids]), names_filter=names)
        expected = np.stack([cache[name][0, -1].detach().numpy() for name in names])
        np.testing.assert_allclose(found.residuals[i], expected, rtol=1e-4, atol=1e-4)
        expected = logits[0, -1, list(LABEL_TOKENS)].detach().numpy()
        np.testing.assert_allclose(found.logits[i], expected, rtol=1e-4, atol=1e-4)


def test_company_changes_no_number(models: LocalModels, pin: Pin, folder: Path, prompts: Prompts):
    alone = readout(models, pin, folder, prompts, rows=1)
    for options in ({"rows": 32, "tokens": 1 << 20}, {"tokens": 200}):
        together = readout(models, pin, folder, prompts, **options)
        np.testing.assert_allclose(together.residuals, alone.residuals, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(together.logits, alone.logits, rtol=1e-4, atol=1e-4)


def test_arrays_are_float32_and_read_only(models: LocalModels, pin: Pin, gpt2: Path):
    found = readout(models, pin, gpt2, make_prompts([3, 4]))
    for array in (found.residuals, found.logits):
        assert array.dtype == np.float32
        assert not array.flags.writeable


def test_no_hook_is_left_behind(models: LocalModels, pin: Pin, gpt2: Path):
    def cancel(_fraction: float, _sentence: str) -> None:
        raise Cancelled("no longer wanted")

    with models.store.borrow(pin(gpt2)) as loaded:
        before = hooks(loaded.model)
        collect(loaded, make_prompts([3, 4]), silent)
        with pytest.raises(Cancelled):
            collect(loaded, make_prompts([3, 4]), cancel)
        with pytest.raises(CheckpointError, match="and the prompts use token 1000000"):
            residuals.read_batch(loaded, replace(make_prompts([1]), token_ids=((10**6,),)))
        assert hooks(loaded.model) == before


def test_progress_is_told_and_cancel_heard_between_batches(models: LocalModels, pin: Pin, gpt2: Path):
    heard: list[tuple[float, str]] = []

    def listen(fraction: float, sentence: str) -> None:
        heard.append((fraction, sentence))
        if fraction == 0.5:
            raise Cancelled("no longer wanted")

    with models.store.borrow(pin(gpt2)) as loaded, pytest.raises(Cancelled):
        collect(loaded, make_prompts([10, 10, 10, 10]), listen, rows=1)
    once = 1 + LAYERS  # before the batch, and again before each of its blocks
    assert [fraction for fraction, _ in heard] == [*[0.0] * once, *[0.25] * once, 0.5]
    assert heard[once][1] == "Reading prompts: 1 of 4 prompts."


def test_a_cancel_is_heard_in_the_middle_of_a_batch(models: LocalModels, pin: Pin, gpt2: Path):
    for at in range(1, 2 + LAYERS):
        calls = 0

        def listen(_fraction: float, _sentence: str) -> None:
            nonlocal calls
            calls += 1
            if calls == at:  # noqa: B023 - called before the next turn of the loop
                raise Cancelled("no longer wanted")

        with models.store.borrow(pin(gpt2)) as loaded:
            with pytest.raises(Cancelled):
                collect(loaded, make_prompts([10]), listen)
            assert hooks(loaded.model) == 0


def test_a_batch_that_does_not_fit_is_halved(models: LocalModels, pin: Pin, gpt2: Path, monkeypatch):
    whole = readout(models, pin, gpt2, make_prompts([5, 6, 7, 8, 9]))
    read, sizes = residuals.read_batch, []

    def small(loaded, batch):
        sizes.append(len(batch.token_ids))
        if len(batch.token_ids) > 2:
            raise torch.OutOfMemoryError("full")
        return read(loaded, batch)

    monkeypatch.setattr(residuals, "read_batch", small)
    halved = readout(models, pin, gpt2, make_prompts([5, 6, 7, 8, 9]))
    np.testing.assert_allclose(halved.residuals, whole.residuals, rtol=1e-4, atol=1e-4)
    assert sizes == [5, 2, 3, 1, 2]


def test_a_prompt_that_does_not_fit_alone_is_an_error(models: LocalModels, pin: Pin, gpt2: Path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(residuals, "read_batch", full)
    with pytest.raises(DeviceError, match="One prompt alone does not fit"):
        readout(models, pin, gpt2, make_prompts([5, 6]))


def test_values_that_are_not_finite_are_an_error(models: LocalModels, pin: Pin, tmp_path: Path):
    model = random_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = float("nan")  # pyright: ignore[reportIndexIssue]
    prompts = make_prompts([4, 4])
    broken = Prompts(**{**vars(prompts), "token_ids": ((1, 2, 3), (4, 5, 6))})
    with pytest.raises(CheckpointError, match="not finite in float32; its weights are damaged"):
        readout(models, pin, save(model, tmp_path / "nan"), broken)


@pytest.mark.skipif("PRETRAINED_CHECKPOINT" not in os.environ, reason="names no pretrained checkpoint")
def test_a_pretrained_checkpoint(models: LocalModels, pin: Pin):
    folder = Path(os.environ["PRETRAINED_CHECKPOINT"])
    prompts = make_prompts([int(n) for n in np.random.default_rng(2).integers(5, 200, 20)], vocabulary=20_000)
    hidden, normed, logits = one_at_a_time(folder, prompts)
    found = readout(models, pin, folder, prompts)
    for ours, theirs in (
        (found.residuals[:, :-1], hidden),
        (final_norm(folder, found.residuals[:, -1]), normed),
        (found.logits, logits[:, LABEL_TOKENS]),
    ):
        assert np.linalg.norm(ours - theirs) <= 1e-3 * np.linalg.norm(theirs)
