"""Weights as they are stored: opened, changed in their file, and spread over disk and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from backend.models.files.facts import read_facts
from backend.models.files.locate import locate
from backend.models.runtime import load
from backend.models.runtime.devices import choose_device
from backend.models.runtime.load import LoadedModel, open_model
from tests.models.random_models import LAYERS, ref


def loaded(
    folder: Path, adapter: Path | None = None, dtype: str = "float32", device_map: str | None = None
) -> LoadedModel:
    located = locate(ref(folder))
    merged = locate(ref(adapter)) if adapter else None
    return open_model(located, merged, read_facts(located, "here").architecture, choose_device(), dtype, device_map)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the stored weights."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


BLOCKS = {"gpt2": "transformer.h.", "llama": "model.layers."}


def spread(folder: Path, name: str, scratch: Path) -> LoadedModel:
    """A checkpoint of which the first block, the embeddings and the head wait on disk."""
    first = BLOCKS[name]
    ends = ["transformer.wte", "transformer.wpe", "transformer.ln_f"] if name == "gpt2" else ["model.embed_tokens"]
    ends += ["lm_head"] if name == "gpt2" else ["model.norm", "model.rotary_emb", "lm_head"]
    near = {part: "disk" if "embed" in part or part in ("transformer.wte", "lm_head") else "cpu" for part in ends}
    blocks = {f"{first}{layer}": "disk" if layer == 0 else "cpu" for layer in range(LAYERS)}
    model = AutoModelForCausalLM.from_pretrained(folder, device_map=near | blocks, offload_folder=str(scratch))
    assert any(parameter.device.type == "meta" for parameter in model.parameters())
    return LoadedModel(model, load.anatomy_of(model), torch.device("cpu"), 0)
