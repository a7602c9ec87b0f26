"""Adapters that people point at, damaged in one place each, and words of the sentence that they get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

FILE = "adapter_model.safetensors"


def rename(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change the stored weights."""
    save_file(change(load_file(folder / FILE)), folder / FILE, {"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def without(part: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda held: {key: one for key, one in held.items() if part not in key}


def filled(value: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda held: {key: torch.full_like(one, value) for key, one in held.items()}


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a weight is gone": (
        lambda folder: rename(folder, without("layers.1.self_attn.q_proj.lora_A")),
        r"it lacks weights \(model.layers.1.self_attn.q_proj.lora_A.weight\)",
    ),
    "a weight too many": (
        lambda folder: rename(folder, lambda held: held | {"base_model.model.other.lora_A.weight": torch.ones(8, 32)}),
        r"it holds unknown weights \(other.lora_A.weight\)",
    ),
    "another rank": (
        lambda folder: configure(folder, r=4),
        "model.layers.0.self_attn.q_proj.lora_A.weight is 8 x 32 in the adapter and 4 x 32 by its config",
    ),
    "targets that the base lacks": (
        lambda folder: configure(folder, target_modules=["c_attn"]),
        r"cannot be merged onto its base \(Target modules \{'c_attn'\} not found in the base model",
    ),
    "some targets that it does not change": (
        lambda folder: configure(folder, target_modules=["q_proj", "k_proj", "v_proj"]),
        "it lacks weights .*k_proj",
    ),
    "nothing in it": (lambda folder: rename(folder, without("")), "it lacks weights"),
    "empty weights": (
        lambda folder: rename(folder, lambda held: {key: torch.zeros(0) for key in held}),
        "holds empty weights .*, one shard of a DeepSpeed ZeRO-3 or FSDP training; gather",
    ),
    "values that are not finite": (
        lambda folder: rename(folder, filled(float("nan"))),
        r"holds values that are not finite \(base_model.model.model.layers.0",
    ),
    "cut off": (
        lambda folder: (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-100]),
        "is truncated, damaged or no safetensors file",
    ),
    "no type": (lambda folder: configure(folder, peft_type=None), "adapter_config.json has no peft_type"),
    "another library's": (
        lambda folder: (folder / "adapter_config.json").write_text('{"config": {"architecture": "lora"}}'),
        "adapter_config.json has no peft_type",
    ),
    "no JSON": (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read as JSON"),
    "an unknown type": (lambda folder: configure(folder, peft_type="NEWEST"), "of type NEWEST, which cannot be merged"),
    "a prompt": (
        lambda folder: configure(folder, peft_type="PREFIX_TUNING"),
        "of type PREFIX_TUNING, which cannot be merged onto its base: it is a learned prompt",
    ),
    "a mixture": (lambda folder: configure(folder, peft_type="XLORA"), "of type XLORA, which cannot be merged"),
    "tokens": (lambda folder: configure(folder, task_type="TOKEN_CLS"), "the task TOKEN_CLS: it labels tokens"),
    "repeated layers": (
        lambda folder: configure(folder, layer_replication=[[0, 2], [1, 3]]),
        "it repeats blocks of its base .layer_replication",
    ),
    "invoked": (
        lambda folder: configure(folder, alora_invocation_tokens=[3, 4]),
        "it acts from its invocation tokens on only",
    ),
    "an approximate start": (
        lambda folder: configure(folder, init_lora_weights="pissa_niter_16"),
        "changed the base before training .init_lora_weights = .pissa_niter_16.*path_initial_model",
    ),
    "a bias where there is none": (
        lambda folder: (
            configure(folder, lora_bias=True),
            rename(
                folder,
                lambda held: (
                    held
                    | {
                        key.replace("weight", "bias"): torch.ones(len(one))
                        for key, one in held.items()
                        if "lora_B" in key
                    }
                ),
            ),
        ),
        "cannot be merged onto its base .Impossible to merge LoRA with `lora_bias=True`",
    ),
    "a nonsensical rank": (lambda folder: configure(folder, r=0), "cannot be merged onto its base .`r` should be"),
    "values of another type": (lambda folder: configure(folder, r="many"), "cannot be merged onto its base"),
}
