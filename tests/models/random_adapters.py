"""PEFT adapters with random weights on random bases."""

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
from transformers import AutoModelForCausalLM, PreTrainedModel

from backend.models.files.locate import locate
from backend.models.runtime.devices import choose_device
from backend.models.runtime.load import LoadedModel, open_model
from tests.device import ask
from tests.models.random_encoders import encoder
from tests.models.random_models import random_model, ref, save


def adapter_on(base: Path, folder: Path, **options: Any) -> peft.PeftModel:
    """A LoRA with weights that matter, saved by peft."""
    config = peft.LoraConfig(
        r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False, task_type="CAUSAL_LM", **options
    )  # pyright: ignore[reportArgumentType]
    torch.manual_seed(3)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(str(folder))
    return model.eval()


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


IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def loaded(base: Path, adapter: Path) -> LoadedModel:
    located = locate(ref(base))
    return open_model(located, locate(ref(adapter)), "of the base", choose_device(), "float32", None)


def same(ours: PreTrainedModel, theirs: Any, changed_from: Any = None) -> None:
    with torch.no_grad():
        expected = theirs(IDS).logits.numpy()
        np.testing.assert_allclose(ask(ours, IDS).logits.cpu().numpy(), expected, rtol=1e-4, atol=1e-4)
        if changed_from is not None:
            assert np.abs(expected - changed_from(IDS).logits.numpy()).max() > 1e-2
