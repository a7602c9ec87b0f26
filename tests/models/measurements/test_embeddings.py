"""The rows of tokens against the tensors in the files, tied or not, merged, moved out or longer than the base's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file

from backend.caching.progress import silent
from backend.errors import CheckpointError, UndefinedError
from backend.models.local import LocalModels
from backend.models.measurements.embeddings import embedding
from tests.models.random_models import Pin, random_model, save
from tests.models.stored_weights import loaded, rewrite, spread

INPUT = {"gpt2": "transformer.wte.weight"}


def stored(folder: Path, name: str) -> np.ndarray:
    return load_file(folder / "model.safetensors")[name].float().numpy()


@pytest.mark.parametrize("tied", [True, False])
def test_rows_are_those_of_the_file(family: str, tied: bool, tmp_path: Path, models: LocalModels, pin: Pin):
    one = pin(save(random_model(family, tied=tied), tmp_path / "one"))
    into = stored(tmp_path / "one", INPUT.get(family, "model.embed_tokens.weight"))
    out = into if tied else stored(tmp_path / "one", "lm_head.weight")
    for which, expected in (("input", into), ("output", out)):
        found = models.embedding(one, which, silent)  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(found.rows, expected)
        assert found.tied == tied
        assert found.rows.dtype == np.float32
        assert not found.rows.flags.writeable


def test_half_precision_crosses_as_float32(tmp_path: Path, models: LocalModels, pin: Pin):
    folder = save(random_model("llama").to(torch.bfloat16), tmp_path / "half")  # pyright: ignore[reportArgumentType]
    rows = models.embedding(pin(folder, dtype="bfloat16"), "input", silent).rows
    np.testing.assert_array_equal(rows, stored(folder, "model.embed_tokens.weight"))
    assert rows.dtype == np.float32


def test_an_extended_vocabulary_has_more_rows(tmp_path: Path, models: LocalModels, pin: Pin):
    longer = random_model("llama")
    before = longer.config.vocab_size
    longer.resize_token_embeddings(before + 5, mean_resizing=False)
    found = models.embedding(pin(save(longer, tmp_path / "longer")), "output", silent)
    assert found.rows.shape == (before + 5, longer.config.hidden_size)


def test_an_adapter_on_the_embedding_is_merged(gpt2: Path, tmp_path: Path, models: LocalModels, pin: Pin):
    config = peft.LoraConfig(r=2, target_modules=["wte"], init_lora_weights=False, task_type="CAUSAL_LM")
    torch.manual_seed(3)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapter = peft.get_peft_model(random_model("gpt2"), config)
    adapter.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    read = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    a, b = (read[f"base_model.model.transformer.wte.lora_embedding_{letter}"].double().numpy() for letter in "AB")
    settings: Any = peft.LoraConfig.from_pretrained(str(tmp_path / "adapter"))
    scale = settings.lora_alpha / 2
    expected = stored(gpt2, INPUT["gpt2"]) + scale * (b @ a).T
    found = models.embedding(pin(tmp_path / "adapter", gpt2, label="epoch 1"), "input", silent)
    np.testing.assert_allclose(found.rows, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_device_map_moved_out_are_fetched(name: str, tied: bool, tmp_path: Path):
    folder = save(random_model(name, tied=tied), tmp_path / "one")
    moved = spread(folder, name, tmp_path / "scratch")
    for which in ("input", "output"):
        near = embedding(loaded(folder), which)  # pyright: ignore[reportArgumentType]
        far = embedding(moved, which)  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(far.rows, near.rows)
        assert far.tied == near.tied == tied


def test_values_that_are_no_numbers_are_an_error(gpt2: Path):
    rewrite(gpt2, lambda weights: weights[INPUT["gpt2"]].view(-1)[:1].fill_(float("nan")))
    with pytest.raises(CheckpointError, match="not finite"):
        embedding(loaded(gpt2), "input")


def test_a_model_that_predicts_no_tokens_has_no_unembedding(gpt2: Path):
    found = loaded(gpt2)
    found.model.get_output_embeddings = lambda: None  # type: ignore[method-assign]
    with pytest.raises(UndefinedError, match="predicts no tokens"):
        embedding(found, "output")
    assert embedding(found, "input").tied, "there is no second matrix to look at"
