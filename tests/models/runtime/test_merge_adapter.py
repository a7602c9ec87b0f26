"""Merged adapters against the PEFT model that was trained: every kind that Layershift takes, to 1e-4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, VeloraConfig

from backend.models.files.adapters import MERGED, read_adapter
from backend.models.files.locate import locate
from backend.models.measurements.merging import merging
from backend.models.runtime.load import open_unmerged
from backend.models.runtime.merge_adapter import verdict_on
from backend.study.token_ids import Prompts
from tests.models.odd_adapters import configure
from tests.models.random_adapters import TARGETS, based, loaded, same, trained
from tests.models.random_encoders import encoder
from tests.models.random_models import random_model, ref

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
    merged = loaded(base, tmp_path / "adapter")
    same(merged.model, model, plain)
    assert verdict_on(read_adapter(locate(ref(tmp_path / "adapter")), locate(ref(base))), locate(ref(base))) == ""
    unmerged = open_unmerged(locate(ref(base)), locate(ref(tmp_path / "adapter")), merged.device, "float32", None)
    ids, few = ((3, 1, 4, 1, 5, 9),), np.zeros(1, np.int64)
    readout = "first" if name == "Bert" else "last"
    found = merging(merged, unmerged, Prompts("p", ids, few, (0, 1), few.astype(bool), readout))
    assert found.residual.max() < 1e-3 and found.active.max() > 1e-3


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


def test_an_adapter_of_a_base_that_loftq_quantized_is_merged_onto_the_plain_one(tmp_path: Path):
    base = based("llama", tmp_path / "base")
    model = trained(base, tmp_path / "adapter", target_modules=TARGETS["llama"])
    quantized = {"loftq_bits": 4, "loftq_iter": 1}
    configure(tmp_path / "adapter", init_lora_weights="loftq", loftq_config=quantized)
    same(loaded(base, tmp_path / "adapter").model, model, random_model("llama"))
    assert verdict_on(read_adapter(locate(ref(tmp_path / "adapter")), locate(ref(base))), locate(ref(base))) == ""
