"""Find the parts of a decoder through TransformerLens' component mapping, without booting a bridge."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from backend.errors import CheckpointError
from backend.models.architectures import Family
from backend.models.class_names import adapters, decoder

_ATTENTION = ("attn", "linear_attn", "mixer", "ssm")
_FAILURES = (AttributeError, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Layout:
    """Paths of a decoder's parts: `ln_final` in the model, the others relative to a block.

    `attn` lists alternatives, because a hybrid has attention in some blocks and a mixer in others. `mlp` may be several
    modules, one after the other. A norm that is missing is None. `o` is
    relative to attention. `transform` maps the output of the unembedding to logits (a scale, a soft cap).
    """

    ln_final: str | None
    ln1: str | None
    attn: tuple[str, ...]
    ln1_post: str | None
    ln2: str | None
    mlp: tuple[str, ...]
    ln2_post: str | None
    o: str | None
    parallel: bool
    transform: Callable[[Tensor], Tensor]


def unchanged(logits: Tensor) -> Tensor:
    """Return the output of an unembedding that already gives logits."""
    return logits


def decoder_layout(model: PreTrainedModel, family: Family) -> Layout:
    """Return the parts of a decoder. Raises CheckpointError where TransformerLens' adapter does not fit its config."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory  # takes seconds
    from transformer_lens.model_bridge.generalized_components import ParallelBlockBridge
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

    name = next(known for known in adapters() if known.lower() == family.tokens.lower())
    config: Any = model.config
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = build_bridge_config_from_hf(config, name, str(config.name_or_path), torch.float32)
            adapter = ArchitectureAdapterFactory.select_architecture_adapter(settings)
        mapping: Any = adapter.component_mapping
        block = mapping["blocks"]
        parts = block.submodules
    except _FAILURES as error:
        raise CheckpointError(
            f"{config.name_or_path} is a {type(model).__name__} with a config that TransformerLens cannot map "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); use a checkpoint of another "
            f"architecture."
        ) from error
    attention = [parts[key] for key in _ATTENTION if key in parts and parts[key].name]
    first = attention[0].submodules if attention else {}
    last_norm = mapping["ln_final"].name if "ln_final" in mapping else None
    row = decoder(family.model_type)
    inside = f"{row.body}." if row else ""
    return Layout(
        ln_final=last_norm if family.body or last_norm is None else last_norm.removeprefix(inside),
        ln1=_name(parts, "ln1"),
        attn=tuple(one.name for one in attention),
        ln1_post=_name(parts, "ln1_post"),
        ln2=_name(parts, "ln2"),
        mlp=_mlp(parts),
        ln2_post=_name(parts, "ln2_post"),
        o=first["o"].name if "o" in first else None,
        parallel=isinstance(block, ParallelBlockBridge),
        transform=adapter.apply_output_logits_transform if family.predicts else unchanged,
    )


def _name(parts: Any, key: str) -> str | None:
    return parts[key].name if key in parts else None


def _mlp(parts: Any) -> tuple[str, ...]:
    if "mlp" not in parts:
        return ()
    if parts["mlp"].name:
        return (parts["mlp"].name,)
    inner = parts["mlp"].submodules
    return (inner["in"].name, "activation_fn", inner["out"].name) if {"in", "out"} <= inner.keys() else ()
