"""Direct logit attribution: what embeddings, heads and MLPs of every block add to the label logits, exactly.

The last residual is the sum of all components' outputs. The final norm divides it by one number per prompt, which is
held fixed, and is linear otherwise: LayerNorm subtracts the mean over dimensions, and both norms multiply by a weight.
So every logit is a sum over components. Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"
(transformer-circuits.pub). Sums are in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils.modeling import align_module_device
from jaxtyping import Float64
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.errors import CheckpointError, UndefinedError
from backend.lab.outputs import Contributions
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad, run
from backend.models.runtime.hooks import block_outputs, taps
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

Readers = Float64[np.ndarray, "classes width"]


def contributions(loaded: LoadedModel, prompts: Prompts, progress: Progress) -> Contributions:
    """Return every component's contribution to the label logits at the readout position.

    In half precision the model rounds between components, so their sum differs from its logits by that rounding.
    Raises CheckpointError, DeviceError, UndefinedError for label words of several tokens.
    """
    if not prompts.single:
        raise UndefinedError(
            "Direct logit attribution splits the logit of one token, but this study's label words have several; "
            "choose label words of one token each."
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

    for batch, (first, last, mixed, written) in in_batches(read, loaded, prompts, progress, "Decomposing logits"):
        scale = _scale(loaded.components.ln_final, last)[:, None]  # [batch, 1]
        embed[batch] = first @ readers.T / scale
        for block, (by_input, from_bias) in enumerate(projected):
            head_outputs = mixed[block].reshape(len(batch), heads, -1)
            weights = by_input.reshape(heads, -1, classes)
            by_head[batch, block] = np.einsum("bhd,hdc->bhc", head_outputs, weights) / scale[..., None]
            bias[batch, block] = from_bias / scale
            mlps[batch, block] = written[block] @ readers.T / scale
    norm_bias = constant.astype(np.float32)
    hand_over(loaded, embed, by_head, bias, mlps, norm_bias)
    return Contributions(embed=embed, heads=by_head, attn_bias=bias, mlps=mlps, norm_bias=norm_bias)


@torch.inference_mode()
def _read(loaded: LoadedModel, batch: Prompts) -> tuple[np.ndarray, ...]:
    """Return, at the readout position: the first and the last residual, then the heads' and MLPs' outputs by block."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    with taps(loaded.components, positions) as residuals, block_outputs(loaded.components, positions) as parts:
        run(loaded, ids, inputs)
    first, last = (tensor.to("cpu", torch.float64).numpy() for tensor in (residuals[0], residuals[-1]))
    stacked = (torch.stack([tensor.to("cpu", torch.float64) for tensor in tensors]).numpy() for tensors in parts)
    return first, last, *stacked


def _readers(loaded: LoadedModel, label_tokens: tuple[int, ...]) -> tuple[Readers, Float64[np.ndarray, " classes"]]:
    """Return the vectors that map a residual, divided by its scale, to each class's logit, and the constant terms."""
    norm, unembed = loaded.components.ln_final, loaded.components.unembed
    rows, head_bias = _weights(unembed)
    rows = rows[list(label_tokens)]
    constant = np.zeros(len(rows)) if head_bias is None else head_bias[list(label_tokens)]
    weight, bias = _weights(norm)
    if bias is not None:
        constant = constant + rows @ bias
    readers = rows * weight
    if isinstance(norm, nn.LayerNorm):
        readers = readers - readers.mean(axis=1, keepdims=True)  # equal to subtracting the residual's mean
    return readers, constant


def _through_output(
    output: nn.Module, readers: Readers
) -> tuple[Float64[np.ndarray, "inputs classes"], Float64[np.ndarray, " classes"]]:
    """Return the maps to each class's logit from the heads' outputs, and from the bias of the output matrix."""
    weight, bias = _weights(output)
    by_input = weight.T if isinstance(output, nn.Linear) else weight  # transformers' Conv1D keeps [inputs, outputs]
    return by_input @ readers.T, np.zeros(len(readers)) if bias is None else readers @ bias


def _weights(module: nn.Module) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, " outputs"] | None]:
    """Return weight and bias, loaded from where `device_map` moved them."""
    with align_module_device(module):
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, Tensor):
            raise CheckpointError(
                f"{type(module).__name__} has no weight of its own, so its logits cannot be decomposed; name a "
                f"checkpoint of a supported architecture."
            )
        arrays = (
            None if tensor is None else tensor.detach().to("cpu", torch.float64).numpy() for tensor in (weight, bias)
        )
        return tuple(arrays)  # pyright: ignore[reportReturnType]


def _scale(norm: nn.Module, x: Float64[np.ndarray, "batch width"]) -> Float64[np.ndarray, " batch"]:
    """Return the final norm's divisor: the standard deviation over dimensions (LayerNorm) or the root mean square."""
    if isinstance(norm, nn.LayerNorm):
        return np.sqrt(x.var(axis=1) + norm.eps)
    return np.sqrt(np.square(x).mean(axis=1) + float(norm.variance_epsilon))  # pyright: ignore[reportArgumentType]
