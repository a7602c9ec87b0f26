"""Merged adapters against the PEFT model that was trained: every kind that Layershift takes, to 1e-4."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, VeloraConfig
from transformers import PreTrainedModel

from backend.models.files.adapters import MERGED, read_adapter
from backend.models.files.locate import locate
from backend.models.runtime.devices import choose_device
from backend.models.runtime.load import LoadedModel, open_model
from backend.models.runtime.merge_adapter import verdict_on
from tests.models.conftest import random_model, ref, save
from tests.models.runtime.test_encoders import encoder

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
TARGETS = {"gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"], "Bert": ["query", "value"]}


def based(name: str, folder: Path, **options: Any) -> Path:
    """A random base on disk: a causal model, or an encoder with a head of two."""
    return save(encoder(name) if name[0].isupper() else random_model(name, **options), folder)


def trained(base: Path, folder: Path, kind: str = "LORA", auto: str = "", rows: int = 0, **options: Any) -> Any:
    """A PEFT model with random changes, as training leaves it, saved to the folder."""
    torch.manual_seed(3)
    name = json.loads((base / "config.json").read_text())["architectures"][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = {"num_labels": options.pop("num_labels")} if "num_labels" in options else {}
        model = getattr(transformers, auto or name).from_pretrained(base, ignore_mismatched_sizes=True, **labels)
        if rows:
            model.resize_token_embeddings(rows, mean_resizing=False)
        if "task_type" not in options:
            options["task_type"] = "SEQ_CLS" if "Classification" in type(model).__name__ else "CAUSAL_LM"
        model = peft.get_peft_model(model, PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)](**options))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad and parameter.is_floating_point():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.eval().save_pretrained(str(folder))
    return model


def loaded(base: Path, adapter: Path) -> LoadedModel:
    located = locate(ref(base))
    return open_model(located, locate(ref(adapter)), "of the base", choose_device(), "float32", None)


def same(ours: PreTrainedModel, theirs: Any, changed_from: Any = None) -> None:
    with torch.no_grad():
        expected = theirs(IDS).logits.numpy()
        np.testing.assert_allclose(ours(IDS).logits.numpy(), expected, rtol=1e-4, atol=1e-4)
        if changed_from is not None:
            assert np.abs(expected - changed_from(IDS).logits.numpy()).max() > 1e-2


SMALL = {
    "ADALORA": {"total_step": 10},
    "C3A": {"block_size": 8},
    "FOURIERFT": {"n_frequency": 50},
    "MISS": {"r": 8},
    "PSOFT": {"r": 4},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 2},
    "VBLORA": {"vector_length": 16, "num_vectors": 20},
    "WAVEFT": {"n_frequency": 50},
}
OF_GPT2 = ("ADALORA", "FOURIERFT", "GRALORA", "HIRA", "IA3", "LORA", "PVERA", "RANDLORA", "UNILORA", "VERA", "WAVEFT")
"""Kinds that take GPT-2's layers, which hold their matrices transposed, and say so with fan_in_fan_out."""


def kinds() -> list[Any]:
    of_gpt2 = [pytest.param("gpt2", kind, id=f"gpt2-{kind}") for kind in OF_GPT2]
    return of_gpt2 + [pytest.param("Bert" if kind == "BEFT" else "llama", kind, id=kind) for kind in sorted(MERGED)]


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_every_kind_of_adapter_computes_merged_what_was_trained(name: str, kind: str, tmp_path: Path):
    fields = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)].__dataclass_fields__
    options: dict[str, Any] = {"target_modules": TARGETS[name], **SMALL.get(kind, {})}
    if "fan_in_fan_out" in fields and name == "gpt2":
        options["fan_in_fan_out"] = True
    if kind == "IA3":
        feed = {"gpt2": "mlp.c_proj", "llama": "down_proj"}[name]
        options |= {"target_modules": [*TARGETS[name], feed], "feedforward_modules": [feed]}
    if kind == "LN_TUNING":
        options = {"target_modules": ["input_layernorm"]}
    if kind == "TRAINABLE_TOKENS":
        options = {"target_modules": ["embed_tokens"], "token_indices": [3, 4]}
    base = based(name, tmp_path / "base")
    model = trained(base, tmp_path / "adapter", kind, **options)
    plain = encoder(name) if name == "Bert" else random_model(name)
    same(loaded(base, tmp_path / "adapter").model, model, plain)
    assert verdict_on(read_adapter(locate(ref(tmp_path / "adapter")), locate(ref(base))), locate(ref(base))) == ""


LORAS: dict[str, tuple[str, dict[str, Any]]] = {
    "rslora": ("gpt2", {"use_rslora": True}),
    "dora": ("gpt2", {"use_dora": True}),
    "dora of an embedding": ("gpt2", {"use_dora": True, "target_modules": ["c_attn", "wte"]}),
    "rank_pattern": ("gpt2", {"rank_pattern": {"h.1.attn.c_attn": 3}, "alpha_pattern": {"h.0.attn.c_attn": 5}}),
    "layers_to_transform": ("llama", {"layers_to_transform": [1]}),
    "exclude_modules": ("llama", {"exclude_modules": ["v_proj"]}),
    "all-linear": ("llama", {"target_modules": "all-linear"}),
    "regular expression": ("llama", {"target_modules": r".*layers\.[01]\.self_attn\.[qk]_proj"}),
    "target_parameters": ("llama", {"target_modules": [], "target_parameters": ["mlp.gate_proj.weight"]}),
    "lora_bias": ("gpt2", {"lora_bias": True}),
    "bias all": ("gpt2", {"bias": "all"}),
    "bias lora_only": ("gpt2", {"bias": "lora_only"}),
    "pissa": ("llama", {"init_lora_weights": "pissa"}),
    "pissa, transposed": ("gpt2", {"init_lora_weights": "pissa"}),
    "olora": ("llama", {"init_lora_weights": "olora"}),
    "eva": ("llama", {"init_lora_weights": "eva"}),
    "orthogonal": ("llama", {"init_lora_weights": "orthogonal"}),
    "mica": ("llama", {"init_lora_weights": "mica"}),
    "kasa": ("llama", {"kasa_config": KasaConfig()}),
    "velora": ("llama", {"velora_config": VeloraConfig()}),
    "bdlora": (
        "llama",
        {"use_bdlora": BdLoraConfig(target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2)},
    ),
    "embedding, tied": ("gpt2", {"target_modules": ["c_attn", "wte"]}),
    "embedding, untied": ("llama", {"target_modules": ["q_proj", "embed_tokens"]}),
    "head, tied": ("gpt2", {"target_modules": ["lm_head"], "fan_in_fan_out": False}),
    "both, tied": ("gpt2", {"target_modules": ["lm_head", "wte"], "fan_in_fan_out": False}),
    "both, kept tied": ("gpt2", {"target_modules": ["c_attn", "wte"], "ensure_weight_tying": True}),
    "embedding saved, tied": ("gpt2", {"modules_to_save": ["wte"]}),
    "head saved, tied": ("gpt2", {"modules_to_save": ["lm_head"]}),
    "both saved": ("gpt2", {"modules_to_save": ["wte", "lm_head"]}),
    "tokens, tied": ("gpt2", {"trainable_token_indices": [3, 4]}),
    "tokens, untied": ("llama", {"trainable_token_indices": {"embed_tokens": [3, 4], "lm_head": [3]}}),
    "norm saved": ("llama", {"modules_to_save": ["norm"]}),
}


@pytest.mark.parametrize("variant", LORAS)
def test_every_variant_of_lora_computes_merged_what_was_trained(variant: str, tmp_path: Path):
    name, options = LORAS[variant]
    base = based(name, tmp_path / "base")
    defaults = {"target_modules": TARGETS[name], "fan_in_fan_out": name == "gpt2"}
    model = trained(base, tmp_path / "adapter", **(defaults | options))
    same(loaded(base, tmp_path / "adapter").model, model, random_model(name))
    assert verdict_on(read_adapter(locate(ref(tmp_path / "adapter")), locate(ref(base))), locate(ref(base))) == ""
