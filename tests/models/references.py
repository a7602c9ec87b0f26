"""Plain transformers doing what the measurements do: one prompt at a time, hooks and exchanged weights by hand."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from backend.lab.outputs import Swap
from backend.study.token_ids import Prompts
from tests.models.random_models import LAYERS

ATTENTION = ("attention.", "sa_layer_norm.")


def exchanged(host: PreTrainedModel, donor: PreTrainedModel, swap: Swap) -> PreTrainedModel:
    """The host with the donor's parameters of the body copied in by name."""
    mixed = copy.deepcopy(host)
    theirs = dict(donor.base_model.named_parameters())
    taken = 0
    for name, parameter in mixed.base_model.named_parameters():
        words = name.split(".")
        block = next((int(word) for word in words if word.isdigit()), None)
        if block is None:
            wanted = swap.part == "embed" and words[0] == "embeddings"
        else:
            attention = name.partition(f".{block}.")[2].startswith(ATTENTION)
            wanted = swap.part in ("block", "attn" if attention else "mlp") and swap.first <= block <= swap.last
        if wanted:
            parameter.data = theirs[name].data.clone()
            taken += 1
    assert taken > 0
    return mixed


def plain_model(folder: Path) -> Any:
    """The causal language model of a folder as transformers opens it, to be read only; the last ones stay open."""
    return _opened(folder, max(file.stat().st_mtime_ns for file in folder.iterdir()))


@lru_cache(maxsize=4)
def _opened(folder: Path, _changed: int) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def one_at_a_time(folder: Path, prompts: Prompts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plain transformers: all hidden states and logits of each prompt alone, the last position picked by numpy."""
    model = plain_model(folder)
    hidden, normed, logits = [], [], []
    with torch.no_grad():
        for ids in prompts.token_ids:
            output = model(torch.tensor([ids]), output_hidden_states=True)
            states = [state[0, -1].numpy() for state in output.hidden_states]
            hidden.append(states[:-1])
            normed.append(states[-1])  # transformers returns the last one behind the final norm
            logits.append(output.logits[0, -1].numpy())
    return np.array(hidden), np.array(normed), np.array(logits)


def final_norm(folder: Path, last: np.ndarray) -> np.ndarray:
    """LayerNorm or RMSNorm written out."""
    model = plain_model(folder)
    if isinstance(model, transformers.GPT2LMHeadModel):
        norm = model.transformer.ln_f
        centred = last - last.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
        return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    norm = model.model.norm
    return last / np.sqrt((last**2).mean(-1, keepdims=True) + norm.variance_epsilon) * norm.weight.detach().numpy()


def hooks(model: torch.nn.Module) -> int:
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())


def plain_residuals(model: PreTrainedModel, prompts: Prompts, layer: int) -> list[np.ndarray]:
    """The residuals of a layer [tokens, width] of each prompt alone, with transformers' own hidden states."""
    last: list[torch.Tensor] = []
    body: Any = model.base_model
    norm = next((getattr(body, name) for name in ("ln_f", "norm") if hasattr(body, name)), None)
    if norm is not None:
        norm.register_forward_pre_hook(lambda _module, args: last.append(args[0]))
    found = []
    for ids in prompts.token_ids:
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        found.append((last[-1] if layer == LAYERS and last else states[layer])[0].numpy())
    return found
