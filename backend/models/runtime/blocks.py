"""Run a model's embeddings and blocks one half at a time, for every family.

All families change the residual stream twice per block. Causal ones add to it, x + attn(ln1(x)), then x + mlp(ln2(x));
encoders normalize the sum, ln1(x + attn(x)), then ln2(x + mlp(x)). Masks and rotary angles come from transformers' own
functions; a test compares the result with the model's own forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)

from backend.errors import CheckpointError
from backend.models.runtime.load import LoadedModel

Residuals = Float[Tensor, "batch tokens width"]
Surroundings = tuple[dict[str, Any], ...]
"""Keyword arguments of each block's attention besides the residuals; an encoder's masks belong to one padded batch."""


def embed(
    loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], types: Int64[Tensor, "batch tokens"] | None = None
) -> Residuals:
    """Return the residuals entering block 0: token embeddings, plus position embeddings if the family has them.

    An encoder's also contain token types (0 without `types`), and are normalized.
    """
    components = loaded.components
    if components.embeddings is not None:
        device = _device(components.embeddings, loaded)
        told = {} if types is None else {"token_type_ids": types.to(device)}
        return components.embeddings(ids.to(device), **told)
    x = components.embed(ids.to(_device(components.embed, loaded)))
    if components.pos_embed is None:
        return x
    positions = torch.arange(ids.shape[1], device=_device(components.pos_embed, loaded))[None]
    return x + components.pos_embed(positions).to(x.device)


def surroundings(loaded: LoadedModel, x: Residuals, real: Int64[Tensor, "batch tokens"] | None = None) -> Surroundings:
    """Return mask, positions and rotary angles of each block for residuals of this length, on their device.

    `real` is 1 at tokens and 0 at padding; causal models ignore it. Raises CheckpointError for a bidirectional model of
    a causal family.
    """
    config, first_row = loaded.model.config, x[:1]
    blocks = len(loaded.components.blocks)
    if loaded.components.family.kind == "encoder":
        mask = (create_causal_mask if getattr(config, "is_decoder", False) else create_bidirectional_mask)(
            config=config, inputs_embeds=x, attention_mask=real, past_key_values=None
        )
        return ({"attention_mask": mask},) * blocks
    if not getattr(config, "is_causal", True):
        raise CheckpointError(
            f"{config.name_or_path} is of a causal family but reads in both directions, so its blocks cannot run one "
            f"by one; choose a model that reads from left to right, or an encoder."
        )
    positions = torch.arange(x.shape[1], device=x.device)[None]
    shared: dict[str, Any] = {"position_ids": positions}
    if loaded.components.rotary is not None:
        shared["position_embeddings"] = loaded.components.rotary(first_row, position_ids=positions)
    everywhere = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    kinds = getattr(config, "layer_types", None) or [everywhere] * blocks
    make = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}
    masks = {
        kind: make[kind](
            config=config, inputs_embeds=first_row, attention_mask=None, past_key_values=None, position_ids=positions
        )
        for kind in set(kinds)
    }
    return tuple({"attention_mask": masks[kind], **shared} for kind in kinds)


def attend(loaded: LoadedModel, block: int, x: Residuals, around: Surroundings) -> Residuals:
    """Run the first half of a block; `x` may hold several copies, stacked, of the batch that `around` belongs to."""
    parts = loaded.components.blocks[block]
    device = _device(parts.attn, loaded)
    x = x.to(device, loaded.model.dtype)
    arguments = {name: _move(value, device) for name, value in around[block].items()}
    if loaded.components.family.kind == "causal":
        return x + parts.attn(hidden_states=parts.ln1(x), **arguments)[0].to(device)
    mask = arguments["attention_mask"]
    arguments["attention_mask"] = None if mask is None else mask.repeat(len(x) // len(mask), 1, 1, 1)
    attended = parts.attn(hidden_states=x, **arguments)[0].to(device)
    return attended if parts.mlp_out is not None else parts.ln1(x + attended)  # BERT's attention ends with the norm


def proceed(loaded: LoadedModel, block: int, x: Residuals) -> Residuals:
    """Run the second half of a block."""
    parts = loaded.components.blocks[block]
    x = x.to(_device(parts.mlp, loaded), loaded.model.dtype)
    if loaded.components.family.kind == "causal":
        return x + _mlp(parts.mlp, parts.ln2(x)).to(x.device)
    if parts.mlp_out is not None:  # the other half of BERT's MLP, with residual and norm in it
        return parts.mlp_out(parts.mlp(x), x)
    return parts.ln2(x + parts.mlp(x))


def _mlp(mlp: nn.Module, x: Residuals) -> Residuals:
    if not isinstance(getattr(mlp, "act", None), NewGELUActivation):
        return mlp(x)
    grown = mlp.get_submodule("c_fc")(x)  # GPT-2's own activation makes seven passes over this, torch's makes one
    return mlp.get_submodule("c_proj")(nn.functional.gelu(grown, approximate="tanh"))


def _device(module: nn.Module, loaded: LoadedModel) -> torch.device:
    """Return the device of the module's weights; offloaded weights move to the model's device for each call."""
    return next((parameter.device for parameter in module.parameters() if not parameter.is_meta), loaded.device)


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_move(item, device) for item in value)
    return value.to(device) if isinstance(value, Tensor) else value
