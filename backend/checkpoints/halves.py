"""A model's blocks run by hand, half by half: the one place that says how a family embeds, attends and goes on.

All families here add to the residual stream twice per block: x + attn(ln1(x)), then x + mlp(ln2(x)). What a block needs
beside the residuals (masks, rotary angles) is made by transformers' own functions; a test holds the result against the
model's own forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from backend.checkpoints.opening import Opened

Residuals = Float[Tensor, "batch tokens width"]
Surroundings = tuple[dict[str, Any], ...]
"""What the attention of each block is told beside the residuals; good for every batch of the same padded length."""


def embed(opened: Opened, ids: Int64[Tensor, "batch tokens"]) -> Residuals:
    """The residuals entering block 0: token embeddings, and position embeddings where the family has them."""
    anatomy = opened.anatomy
    x = anatomy.embed(ids.to(_device(anatomy.embed, opened)))
    if anatomy.pos_embed is None:
        return x
    positions = torch.arange(ids.shape[1], device=_device(anatomy.pos_embed, opened))[None]
    return x + anatomy.pos_embed(positions).to(x.device)


def surroundings(opened: Opened, x: Residuals) -> Surroundings:
    """Mask, positions and rotary angles of each block for residuals of this length, on their device."""
    config, one = opened.model.config, x[:1]
    positions = torch.arange(x.shape[1], device=x.device)[None]
    shared: dict[str, Any] = {"position_ids": positions}
    if opened.anatomy.rotary is not None:
        shared["position_embeddings"] = opened.anatomy.rotary(one, position_ids=positions)
    everywhere = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    kinds = getattr(config, "layer_types", None) or [everywhere] * len(opened.anatomy.blocks)
    make = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}
    masks = {
        kind: make[kind](
            config=config, inputs_embeds=one, attention_mask=None, past_key_values=None, position_ids=positions
        )
        for kind in set(kinds)
    }
    return tuple({"attention_mask": masks[kind], **shared} for kind in kinds)


def attend(opened: Opened, block: int, x: Residuals, around: Surroundings) -> Residuals:
    """The first half of a block: x + attn(ln1(x))."""
    parts = opened.anatomy.blocks[block]
    device = _device(parts.attn, opened)
    x = x.to(device, opened.model.dtype)
    told = {name: _move(value, device) for name, value in around[block].items()}
    return x + parts.attn(hidden_states=parts.ln1(x), **told)[0].to(device)


def proceed(opened: Opened, block: int, x: Residuals) -> Residuals:
    """The second half of a block: x + mlp(ln2(x))."""
    parts = opened.anatomy.blocks[block]
    x = x.to(_device(parts.mlp, opened), opened.model.dtype)
    return x + _mlp(parts.mlp, parts.ln2(x)).to(x.device)


def _mlp(mlp: nn.Module, x: Residuals) -> Residuals:
    if not isinstance(getattr(mlp, "act", None), NewGELUActivation):
        return mlp(x)
    grown = mlp.get_submodule("c_fc")(x)  # GPT-2's own activation goes over this seven times, torch's once
    return mlp.get_submodule("c_proj")(nn.functional.gelu(grown, approximate="tanh"))


def _device(module: nn.Module, opened: Opened) -> torch.device:
    """Where the module's weights are; those of an offloaded one come to the model's device when it is called."""
    return next((one.device for one in module.parameters() if not one.is_meta), opened.device)


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_move(one, device) for one in value)
    return None if value is None else value.to(device)
