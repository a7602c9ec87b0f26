"""Direct logit attribution: what embeddings, heads and MLPs of every block add to the label logits, exactly.

The residual stream at the end is the sum of what its parts wrote. The final norm divides it by one number per prompt,
which is held at its value, and is linear otherwise: LayerNorm subtracts the mean over dimensions, both multiply by a
weight. So each part has its share of every logit. Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits" (transformer-circuits.pub); the sums are made in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.utils.modeling import align_module_device
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.errors import CheckpointError, UndefinedError
from backend.lab.outputs import Contributions
from backend.models.runtime.batching import in_batches
from backend.models.runtime.components import ModelComponents
from backend.models.runtime.forward import hand_over, pad, run
from backend.models.runtime.hooks import taps
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Readers = Float64[np.ndarray, "classes width"]


def contributions(loaded: LoadedModel, prompts: Prompts, progress: Progress) -> Contributions:
    """Every part's share of the label logits at the readout position.

    In half precision the model rounds between its parts, so that they add up to its logits up to that only. Raises
    CheckpointError, DeviceError, UndefinedError for label words of several tokens.
    """
    if not prompts.single:
        raise UndefinedError(
            "Direct logit attribution splits the logit of one token, and this study's label words have several; choose "
            "label words of one token each."
        )
    readers, constant = _readers(loaded, prompts.label_tokens)
    projected = [_through_output(block.o, readers) for block in loaded.components.blocks]
    count, blocks, classes = len(prompts.token_ids), len(projected), prompts.classes
    heads = int(loaded.model.config.num_attention_heads)
    embed = np.empty((count, classes), np.float32)
    by_head = np.empty((count, blocks, heads, classes), np.float32)
    bias = np.empty((count, blocks, classes), np.float32)
    mlps = np.empty((count, blocks, classes), np.float32)

    def read(batch: Prompts) -> tuple[np.ndarray, ...]:
        return _read(loaded, batch)

    for batch, (first, last, mixed, written) in in_batches(read, loaded, prompts, progress, "Taking logits apart"):
        scale = _scale(loaded.components.ln_final, last)[:, None]  # [batch, 1]
        embed[batch] = first @ readers.T / scale
        for block, (by_input, from_bias) in enumerate(projected):
            of_heads = mixed[block].reshape(len(batch), heads, -1)
            weights = by_input.reshape(heads, -1, classes)
            by_head[batch, block] = np.einsum("bhd,hdc->bhc", of_heads, weights) / scale[..., None]
            bias[batch, block] = from_bias / scale
            mlps[batch, block] = written[block] @ readers.T / scale
    norm_bias = constant.astype(np.float32)
    hand_over(loaded, embed, by_head, bias, mlps, norm_bias)
    return Contributions(embed=embed, heads=by_head, attn_bias=bias, mlps=mlps, norm_bias=norm_bias)


@torch.inference_mode()
def _read(loaded: LoadedModel, batch: Prompts) -> tuple[np.ndarray, ...]:
    """At the readout: what enters block 0 and leaves the last; what heads hand on, what MLPs write, by block."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    with taps(loaded.components, positions) as residuals, _parts(loaded.components, positions) as (mixed, written):
        run(loaded, ids, inputs)
    first, last = (one.to("cpu", torch.float64).numpy() for one in (residuals[0], residuals[-1]))
    stacked = (torch.stack([one.to("cpu", torch.float64) for one in parts]).numpy() for parts in (mixed, written))
    return first, last, *stacked


@contextmanager
def _parts(
    components: ModelComponents, positions: Int64[Tensor, " batch"]
) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """While open: what enters each attention's output matrix, and what each MLP writes, at `positions`."""
    mixed: list[Tensor] = []
    written: list[Tensor] = []

    def at_readout(x: Tensor) -> Tensor:
        return x[torch.arange(len(positions), device=x.device), positions.to(x.device)]

    def entering(_module: nn.Module, args: tuple[Any, ...]) -> None:
        mixed.append(at_readout(args[0]))

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        written.append(at_readout(output))

    with ExitStack() as hooks:
        for block in components.blocks:
            hooks.callback(block.o.register_forward_pre_hook(entering).remove)
            hooks.callback(block.mlp.register_forward_hook(leaving).remove)
        yield mixed, written


def _readers(loaded: LoadedModel, label_tokens: tuple[int, ...]) -> tuple[Readers, Float64[np.ndarray, " classes"]]:
    """What reads each class's logit off a residual that is divided by its scale, and what is added to every prompt."""
    norm, unembed = loaded.components.ln_final, loaded.components.unembed
    rows, head_bias = _weights(unembed)
    rows = rows[list(label_tokens)]
    constant = np.zeros(len(rows)) if head_bias is None else head_bias[list(label_tokens)]
    weight, bias = _weights(norm)
    if bias is not None:
        constant = constant + rows @ bias
    readers = rows * weight
    if isinstance(norm, nn.LayerNorm):
        readers = readers - readers.mean(axis=1, keepdims=True)  # x minus its mean, read, is x read by this
    return readers, constant


def _through_output(
    output: nn.Module, readers: Readers
) -> tuple[Float64[np.ndarray, "inputs classes"], Float64[np.ndarray, " classes"]]:
    """What reads each class's logit off what the heads hand on, and off the bias of the output matrix."""
    weight, bias = _weights(output)
    by_input = weight.T if isinstance(output, nn.Linear) else weight  # transformers' Conv1D keeps [inputs, outputs]
    return by_input @ readers.T, np.zeros(len(readers)) if bias is None else readers @ bias


def _weights(module: nn.Module) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, " outputs"] | None]:
    """Weight and bias, fetched from where `device_map` moved them."""
    with align_module_device(module):
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, Tensor):
            raise CheckpointError(f"{type(module).__name__} has no weight of its own, so it cannot be taken apart.")
        found = (None if one is None else one.detach().to("cpu", torch.float64).numpy() for one in (weight, bias))
        return tuple(found)  # pyright: ignore[reportReturnType]


def _scale(norm: nn.Module, x: Float64[np.ndarray, "batch width"]) -> Float64[np.ndarray, " batch"]:
    """What the final norm divides by: the standard deviation over dimensions (LayerNorm), or the root mean square."""
    if isinstance(norm, nn.LayerNorm):
        return np.sqrt(x.var(axis=1) + norm.eps)
    return np.sqrt(np.square(x).mean(axis=1) + float(norm.variance_epsilon))  # pyright: ignore[reportArgumentType]
