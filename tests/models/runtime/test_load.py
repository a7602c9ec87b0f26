"""Opening checkpoints: every weight comes from the file, in the dtype asked for, or there is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging as chatter

from backend.errors import CheckpointError, DeviceError
from backend.models.runtime import load
from tests.device import DEVICE, ask
from tests.models.random_adapters import adapter_on
from tests.models.random_models import random_model, save
from tests.models.stored_weights import loaded, rewrite

IDS = torch.tensor([[3, 1, 4, 1, 5]])


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    with torch.no_grad():
        found, expected = (ask(model, IDS).logits.cpu().numpy() for model in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_tied_and_untied_heads(tmp_path: Path, name: str, tied: bool):
    model = random_model(name, tied=tied)
    found = loaded(save(model, tmp_path / "model"))
    same(found.model, model)
    assert (found.components.unembed.weight is found.components.embed.weight) == tied
    assert found.bytes == sum(p.numel() * 4 for p in found.model.parameters()) + sum(
        b.numel() * b.element_size() for b in {b.data_ptr(): b for b in found.model.buffers()}.values()
    )


def test_it_only_runs(gpt2: Path):
    found = loaded(gpt2)
    assert not found.model.training
    assert not any(p.requires_grad for p in found.model.parameters())
    assert found.model.config._attn_implementation == "sdpa"
    assert found.device == DEVICE


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_precision_on_disk_computes_in_float32(tmp_path: Path, stored: torch.dtype):
    found = loaded(save(random_model("llama").to(stored), tmp_path / "half"))  # pyright: ignore[reportArgumentType]
    rounded = random_model("llama")
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(stored).float()
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    same(found.model, rounded)
    assert loaded(tmp_path / "half", dtype="bfloat16").model.dtype == torch.bfloat16


def test_an_extended_vocabulary(tmp_path: Path):
    model = random_model("gpt2")
    model.resize_token_embeddings(model.config.vocab_size + 5, mean_resizing=False)
    same(loaded(save(model, tmp_path / "extended")).model, model)


def test_shards(tmp_path: Path):
    model = random_model("llama")
    same(loaded(save(model, tmp_path / "shards", max_shard_size="20KB")).model, model)


def test_spread_over_devices(gpt2: Path):
    same(loaded(gpt2, device_map="auto").model, random_model("gpt2"))


def test_a_rewritten_file_changes_no_open_model(gpt2: Path):
    found = loaded(gpt2)
    save(random_model("gpt2", seed=1), gpt2)
    (gpt2 / "model.safetensors").write_bytes(b"")
    same(found.model, random_model("gpt2"))


def test_a_missing_weight_is_an_error_and_never_random(tmp_path: Path):
    folder = save(random_model("llama"), tmp_path / "headless")
    rewrite(folder, lambda weights: weights.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"lacks the head of a LlamaForCausalLM \(lm_head.weight\); save"):
        loaded(folder)
    rewrite(folder, lambda weights: [weights.pop(name) for name in list(weights) if "layers.1.mlp" in name])
    with pytest.raises(CheckpointError, match=r"lm_head.weight, .*down_proj.weight, .* and 1 more"):
        loaded(folder)


def test_a_weight_of_another_shape_is_an_error(gpt2: Path):
    rewrite(gpt2, lambda weights: weights.update({"transformer.wpe.weight": torch.zeros(3, 32)}))
    with pytest.raises(CheckpointError, match=r"transformer.wpe.weight of shape 3 x 32 and config.json says 64 x 32"):
        loaded(gpt2)


def test_what_transformers_cannot_open_is_one_sentence(gpt2: Path):
    config = (gpt2 / "config.json").read_text()
    (gpt2 / "config.json").write_text(config.replace('"n_head": 4', '"n_head": 5'))
    with pytest.raises(CheckpointError, match=r"gpt2 cannot be opened .*; save or copy the checkpoint again") as caught:
        loaded(gpt2)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_too_small_is_an_error(gpt2: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(load, "_load", full)
    with pytest.raises(DeviceError, match=f"does not fit into the memory of {DEVICE}"):
        loaded(gpt2)


def test_transformers_is_as_talkative_afterwards_as_before(gpt2: Path):
    before = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    loaded(gpt2)
    assert (chatter.get_verbosity(), chatter.is_progress_bar_enabled()) == before


@pytest.mark.parametrize("options", [{}, {"modules_to_save": ["ln_f"]}])
def test_an_adapter_is_merged_onto_its_base(gpt2: Path, tmp_path: Path, options: dict[str, object]):
    theirs = adapter_on(gpt2, tmp_path / "adapter", **options)
    found = loaded(gpt2, tmp_path / "adapter")
    same(found.model, theirs)
    assert type(found.model).__name__ == "GPT2LMHeadModel"
    assert not any("lora" in name for name, _ in found.model.named_modules())
    with torch.no_grad():
        assert (ask(found.model, IDS).logits - ask(loaded(gpt2).model, IDS).logits).abs().max() > 1e-2


def test_an_adapter_of_another_model_is_an_error(gpt2: Path, tmp_path: Path):
    adapter_on(gpt2, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"adapter cannot be merged onto its base .*c_attn"):
        loaded(save(random_model("llama"), tmp_path / "llama"), tmp_path / "adapter")
    smaller = save(random_model("gpt2", layers=2), tmp_path / "smaller")
    with pytest.raises(CheckpointError, match="adapter does not fit the base: it holds unknown weights"):
        loaded(smaller, tmp_path / "adapter")


def test_an_adapter_that_lacks_weights_is_an_error(gpt2: Path, tmp_path: Path):
    adapter_on(gpt2, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(next(iter(weights)))
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match="adapter does not fit the base: it lacks weights"):
        loaded(gpt2, tmp_path / "adapter")


def test_an_adapter_that_cannot_be_merged_is_an_error(gpt2: Path, tmp_path: Path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)  # pyright: ignore[reportArgumentType]
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(gpt2), config)
    model.save_pretrained(str(tmp_path / "prompt"))
    with pytest.raises(CheckpointError, match=r"adapter of type .*PROMPT_TUNING, which cannot be merged"):
        loaded(gpt2, tmp_path / "prompt")
