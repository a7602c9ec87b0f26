"""Run a model's blocks one by one, in two halves where the self-check has confirmed them.

A block changes the residual stream twice. With pre-norms it adds, x + attn(ln1(x)), then y + mlp(ln2(y)), and each norm
may also come after its half, or both halves read x (parallel). With post-norms it normalizes the sum, ln1(x + attn(x)),
then ln2(y + mlp(y)). `self_check` compares the result with the model's own forward pass; where the halves do not add
up to the block, the block runs whole.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers.activations import NewGELUActivation

from backend.errors import UnsupportedError
from backend.models.runtime.calls import Call, Residuals, first, record
from backend.models.runtime.components import Block
from backend.models.runtime.load import LoadedModel

Halfway = Float[Tensor, "batch tokens halfway"]
"""Residuals between the halves of a block; in a parallel block x and x + attention side by side."""
Surroundings = tuple[Call, ...]
"""The call of each block, or of its attention; an encoder's masks belong to one padded batch."""


def embed(
    loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor] | None = None
) -> Residuals:
    """Return the residuals entering block 0, as the model itself computes them; `inputs` are mask and token types."""
    return record(loaded, ids.to(loaded.device), inputs or {}, False, loaded.checked.returns)[0]


def surroundings(
    loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor] | None = None
) -> Surroundings:
    """Return mask, positions and rotary angles of each block for texts of this length.

    Raises CheckpointError for a model whose blocks cannot run one by one.
    """
    config, checked, causal = loaded.model.config, loaded.checked, loaded.components.family.kind == "causal"
    if causal and not getattr(config, "is_causal", True):
        raise UnsupportedError(
            f"{config.name_or_path} is of a causal family but reads in both directions, so its blocks cannot run one "
            f"by one; choose a model that reads from left to right, or an encoder."
        )
    if checked.blocks:
        raise UnsupportedError(checked.blocks)
    ids, given = ids.to(loaded.device), {} if causal else inputs or {}
    return record(loaded, ids[:1] if causal else ids, given, bool(checked.halves), checked.returns)[1]


def attend(loaded: LoadedModel, block: int, x: Residuals, around: Surroundings) -> Halfway:
    """Run the first half of a block; `x` may hold several copies, stacked, of the batch that `around` belongs to.

    In a parallel block the result holds x and x + attention side by side; where halves are not confirmed, it is the
    output of the whole block, and `proceed` passes it on.
    """
    parts, checked = loaded.components.blocks[block], loaded.checked
    module = parts.attn if checked.halves else parts.whole
    x = x.to(_device(module, loaded))
    if not checked.halves:  # some models keep the stream in float32 around weights in half precision
        return first(around[block].run(parts.whole, x, checked.batched)).to(x.device)
    x = x.to(loaded.model.dtype)
    return first_half(loaded, parts, checked.halves, checked.batched, x, around[block])


def proceed(loaded: LoadedModel, block: int, x: Halfway) -> Residuals:
    """Run the second half of a block."""
    parts, halves = loaded.components.blocks[block], loaded.checked.halves
    if not halves:
        return x
    return second_half(loaded, parts, halves, x.to(_device(parts.mlp, loaded), loaded.model.dtype))


def first_half(
    loaded: LoadedModel, parts: Block, halves: str, batched: frozenset[str], x: Residuals, call: Call
) -> Halfway:
    """Run attention with its norms, in a block of this kind (`self_check.KINDS`)."""
    form = loaded.components.family.parts
    if form is not None and form.post_norm:
        attended = first(call.run(_known(parts.attn), x, batched)).to(x.device)
        return attended if form.attn_adds else _known(parts.ln1)(x + attended)
    attended = first(call.run(_known(parts.attn), parts.ln1(x) if parts.ln1 else x, batched)).to(x.device)
    y = x + _scaled(parts.ln1_post(attended) if parts.ln1_post else attended, loaded)
    return y if halves == "sequential" else torch.cat([x, y], dim=-1)


def second_half(loaded: LoadedModel, parts: Block, halves: str, x: Halfway) -> Residuals:
    """Run the MLP with its norms, on what `first_half` returned, at all positions or some."""
    form, mlp = loaded.components.family.parts, _known(parts.mlp)
    if form is not None and form.post_norm:
        if parts.mlp_out is not None:  # the other half of BERT's MLP, with residual and norm in it
            return parts.mlp_out(mlp(x), x)
        return _known(parts.ln2)(x + mlp(x))
    before, x = (x, x) if halves == "sequential" else x.chunk(2, dim=-1)
    norm = parts.ln1 if halves == "shared" else parts.ln2
    written = _mlp(mlp, norm(before) if norm else before).to(x.device)
    return x + _scaled(parts.ln2_post(written) if parts.ln2_post else written, loaded)


def _scaled(x: Residuals, loaded: LoadedModel) -> Residuals:
    return x if loaded.components.multiplier == 1 else x * loaded.components.multiplier


def _known(module: nn.Module | None) -> nn.Module:
    if module is None:
        raise UnsupportedError("A block lacks a part that its layout names; swap whole blocks instead.")
    return module


def _mlp(mlp: nn.Module, x: Residuals) -> Residuals:
    if not isinstance(getattr(mlp, "act", None), NewGELUActivation) or not hasattr(mlp, "c_fc"):
        return first(mlp(x))
    grown = mlp.get_submodule("c_fc")(x)  # GPT-2's own activation makes seven passes over this, torch's makes one
    return mlp.get_submodule("c_proj")(nn.functional.gelu(grown, approximate="tanh"))


def _device(module: Any, loaded: LoadedModel) -> torch.device:
    """Return the device of the module's weights; offloaded weights move to the model's device for each call."""
    parameters = () if module is None else module.parameters()
    return next((parameter.device for parameter in parameters if not parameter.is_meta), loaded.device)
