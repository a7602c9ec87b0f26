"""Direct logit attribution: what embeddings, heads and MLPs of every block add to the label logits, exactly.

The last residual is the sum of all components' outputs. The final norm divides it by one number per prompt, which is
held fixed, and is linear otherwise: LayerNorm subtracts the mean over dimensions, and both norms multiply by a weight.
So every logit is a sum over components. Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"
(transformer-circuits.pub). Sums are in float64.

The log-probability of a label word is the log-probability of its first token plus that of its other tokens after it.
Classes share the prompt, so the normalization of the first tokens cancels between them and their logits can be split;
the other tokens are read at other positions and stay one part.
"""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Float64
from torch import nn

from backend.caching.progress import Progress
from backend.errors import UnsupportedError
from backend.lab.outputs import Contributions
from backend.models.measurements.residuals import collect
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad, run
from backend.models.runtime.hooks import block_outputs, taps
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.norms import LinearNorm, linear_norm, weights_of
from backend.study.token_ids import Prompts

Readers = Float64[np.ndarray, "classes width"]


def contributions(loaded: LoadedModel, prompts: Prompts, progress: Progress) -> Contributions:
    """Return every component's contribution to the label logits at the readout position.

    In half precision the model rounds between components, so their sum differs from its logits by that rounding.
    Raises CheckpointError, DeviceError.
    """
    output, factor = _check(loaded), loaded.components.multiplier
    norm = linear_norm(loaded.components.ln_final, loaded)
    readers, constant = _readers(loaded, norm, prompts.label_tokens)
    projected = [_through_output(o, readers * factor) for o in output]
    count, blocks, classes = len(prompts.token_ids), len(projected), prompts.classes
    heads = int(loaded.model.config.num_attention_heads)
    embed = np.empty((count, classes), np.float32)
    by_head = np.empty((count, blocks, heads, classes), np.float32)
    bias = np.empty((count, blocks, classes), np.float32)
    mlps = np.empty((count, blocks, classes), np.float32)
    later = np.empty((0 if prompts.single else count, classes), np.float32)
    if not prompts.single:
        later[:] = collect(loaded, prompts, progress).logits  # log-probabilities of whole words

    def read(batch: Prompts) -> tuple[np.ndarray, ...]:
        return _read(loaded, batch)

    for batch, (first, last, logits, mixed, written) in in_batches(
        read, loaded, prompts, progress, "Decomposing logits"
    ):
        scale = norm.scale(last)[:, None]  # [batch, 1]
        embed[batch] = first @ readers.T / scale
        for block, (by_input, from_bias) in enumerate(projected):
            head_outputs = mixed[block].reshape(len(batch), heads, -1)
            weights = by_input.reshape(heads, -1, classes)
            by_head[batch, block] = np.einsum("bhd,hdc->bhc", head_outputs, weights) / scale[..., None]
            bias[batch, block] = from_bias / scale
            mlps[batch, block] = written[block] @ readers.T * factor / scale
        total = embed[batch] + by_head[batch].sum((1, 2)) + bias[batch].sum(1) + mlps[batch].sum(1) + constant
        _compare(loaded, total, logits[:, list(prompts.label_tokens)])
        if not prompts.single:
            later[batch] -= scipy.special.log_softmax(logits, axis=1)[:, list(prompts.label_tokens)]
    norm_bias = constant.astype(np.float32)
    hand_over(loaded, embed, by_head, bias, mlps, norm_bias, later)
    return Contributions(embed, by_head, bias, mlps, norm_bias, later)


@torch.inference_mode()
def _read(loaded: LoadedModel, batch: Prompts) -> tuple[np.ndarray, ...]:
    """Return, at the readout position: first and last residual, logits, then heads' and MLPs' outputs by block."""
    ids, positions, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    with taps(loaded.components, positions) as residuals, block_outputs(loaded.components, positions) as parts:
        logits = run(loaded, ids, inputs)
    whole = (residuals[0], residuals[-1], *([] if logits is None else [logits]))
    ends = [tensor.to("cpu", torch.float64).numpy() for tensor in whole]
    stacked = (torch.stack([tensor.to("cpu", torch.float64) for tensor in tensors]).numpy() for tensors in parts)
    return *ends, *stacked


def _check(loaded: LoadedModel) -> list[nn.Module]:
    """Return the output matrix of every block's attention. Raises CheckpointError for a model that adds otherwise."""
    loaded.check_lens()
    blocks = loaded.components.blocks
    output = [block.o for block in blocks if block.o is not None and block.ln1_post is None]
    kinds = {type(block.attn).__name__ for block in blocks}
    heads = loaded.checked.halves and len(output) == len(blocks) and len(kinds) == 1 and "Attention" in str(kinds)
    if loaded.components.family.kind == "causal" and not heads:
        reason = "has blocks without attention heads"
        if blocks[0].ln1_post is not None:
            reason = "norms what attention adds"
        elif not loaded.checked.halves:
            reason = "has blocks that are not the sum of attention and MLP"
        raise UnsupportedError(
            f"{loaded.model.config.name_or_path} (a {type(loaded.model).__name__}) {reason}, so heads have no "
            f"contributions of their own; swap or patch attention instead."
        )
    return output


def _compare(loaded: LoadedModel, total: np.ndarray, logits: np.ndarray) -> None:
    """Raise CheckpointError unless contributions add up to the model's own logits, up to its rounding."""
    allowed = (1e-3 if loaded.model.dtype == torch.float32 else 0.1) * (1 + np.abs(logits).max())
    if not np.abs(total - logits).max() <= allowed and np.isfinite(logits).all():
        raise UnsupportedError(
            f"The contributions of {loaded.model.config.name_or_path} (a {type(loaded.model).__name__}) do not add up "
            f"to its logits, so they are refused; swap or patch attention instead."
        )


def _readers(
    loaded: LoadedModel, norm: LinearNorm, label_tokens: tuple[int, ...]
) -> tuple[Readers, Float64[np.ndarray, " classes"]]:
    """Return the vectors that map a residual, divided by its scale, to each class's logit, and the constant terms."""
    rows, head_bias = weights_of(loaded.components.unembed)
    scale = _logit_scale(loaded)
    rows = rows[list(label_tokens)] * scale
    constant = np.zeros(len(rows)) if head_bias is None else head_bias[list(label_tokens)] * scale
    if norm.bias is not None:
        constant = constant + rows @ norm.bias
    readers = rows * norm.weight
    if norm.centred:
        readers = readers - readers.mean(axis=1, keepdims=True)  # equal to subtracting the residual's mean
    return readers, constant


def _logit_scale(loaded: LoadedModel) -> float:
    """Return the scale of the logits. Raises CheckpointError for a model that caps its logits."""
    scores = torch.tensor([1.0, 2.0, -30.0])
    scaled = loaded.components.transform(scores) / scores
    if not torch.allclose(scaled, scaled[0].expand(3)):
        raise UnsupportedError(
            f"{loaded.model.config.name_or_path} caps its logits, so they are no sum of contributions; swap or patch "
            f"attention instead."
        )
    return float(scaled[0])


def _through_output(
    output: nn.Module, readers: Readers
) -> tuple[Float64[np.ndarray, "inputs classes"], Float64[np.ndarray, " classes"]]:
    """Return the maps to each class's logit from the heads' outputs, and from the bias of the output matrix."""
    weight, bias = weights_of(output)
    by_input = weight.T if isinstance(output, nn.Linear) else weight  # transformers' Conv1D keeps [inputs, outputs]
    return by_input @ readers.T, np.zeros(len(readers)) if bias is None else readers @ bias
