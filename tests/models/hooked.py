"""Interventions on the residual stream, and the model that makes them with hooks by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from backend.lab.outputs import Ablation, Intervention, SteeringVectors
from backend.study.token_ids import Prompts
from tests.models.random_models import LABEL_TOKENS, LAYERS, WIDTH

RNG = np.random.default_rng(5)
EVERY = tuple(range(LAYERS + 1))


def vectors(count: int, size: float = 2.0) -> np.ndarray:
    return size * RNG.normal(size=(count, WIDTH)).astype(np.float32)


def unit() -> np.ndarray:
    found = RNG.normal(size=WIDTH)
    return (found / np.linalg.norm(found)).astype(np.float32)


PLAN: tuple[Intervention, ...] = (
    *(SteeringVectors((layer,), vectors(1)) for layer in EVERY),
    SteeringVectors(EVERY, vectors(LAYERS + 1)),
    SteeringVectors((2, 1), vectors(2)),
    *(SteeringVectors((layer,), vectors(1), "all") for layer in EVERY),
    SteeringVectors(EVERY, vectors(LAYERS + 1), "all"),
    Ablation(unit(), vectors(LAYERS + 1)),
    Ablation(unit(), vectors(LAYERS + 1)),
)


def blocks_of(model: Any) -> Any:
    return model.base_model.h if hasattr(model.base_model, "h") else model.base_model.layers


def changed(x: torch.Tensor, one: Intervention, layer: int) -> torch.Tensor:
    """The whole prompt's residuals [1, tokens, width] by the formulas."""
    x = x.clone()
    if isinstance(one, SteeringVectors):
        for at, vector in zip(one.layers, one.vectors, strict=True):
            if at == layer and one.positions == "all":
                x += torch.from_numpy(vector)
            elif at == layer:
                x[0, -1] += torch.from_numpy(vector)
        return x
    u, mean = torch.from_numpy(one.unit), torch.from_numpy(one.mean[layer])
    for t in range(1, x.shape[1]):
        x[0, t] -= ((x[0, t] - mean) @ u) * u
    return x


def hooked(model: PreTrainedModel, one: Intervention) -> PreTrainedModel:
    """A copy with hooks that call `changed`."""
    model = copy.deepcopy(model)
    for layer, block in enumerate(blocks_of(model)):

        def before(_module: Any, args: Any, kwargs: Any, layer: int = layer) -> Any:
            if args:
                return (changed(args[0], one, layer), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": changed(kwargs["hidden_states"], one, layer)}

        block.register_forward_pre_hook(before, with_kwargs=True)

    def behind(_module: Any, _args: Any, output: Any) -> Any:
        last = len(blocks_of(model))
        if isinstance(output, tuple):
            return (changed(output[0], one, last), *output[1:])
        return changed(output, one, last)

    blocks_of(model)[-1].register_forward_hook(behind)
    return model


def by_hand(
    model: PreTrainedModel, one: Intervention, prompts: Prompts, tokens: tuple[int, ...] = LABEL_TOKENS
) -> np.ndarray:
    """Logits of some tokens behind each prompt."""
    model = hooked(model, one)
    with torch.no_grad():
        rows = [model(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in prompts.token_ids]
    return torch.stack(rows)[:, list(tokens)].numpy()
