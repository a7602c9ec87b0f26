"""An opened model's parts under one set of names for all families: TransformerLens 4's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from backend.checkpoints.families import family_of
from backend.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Block:
    """One block: `ln1` is read by `attn`, `ln2` by `mlp`; `whole` takes the residual stream and returns it.

    `o` is the last matrix of `attn`, which takes what the heads found, one behind the other.
    """

    whole: nn.Module
    ln1: nn.Module
    attn: nn.Module
    o: nn.Module
    ln2: nn.Module
    mlp: nn.Module


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one model. `pos_embed` is None where positions rotate keys and queries instead, by `rotary`.

    Names: https://github.com/TransformerLensOrg/TransformerLens, `component_mapping` of its architecture adapters.
    """

    embed: nn.Module
    pos_embed: nn.Module | None
    blocks: tuple[Block, ...]
    ln_final: nn.Module
    unembed: nn.Module
    rotary: nn.Module | None = None


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The parts of a model; CheckpointError for an architecture that Layershift does not know."""
    family = family_of(type(model).__name__, str(model.config.name_or_path))
    try:
        blocks = tuple(
            Block(
                whole=block,
                ln1=block.get_submodule(family.ln1),
                attn=block.get_submodule(family.attn),
                o=block.get_submodule(family.attn).get_submodule(family.o),
                ln2=block.get_submodule(family.ln2),
                mlp=block.get_submodule(family.mlp),
            )
            for block in model.get_submodule(family.blocks).children()
        )
        return Anatomy(
            embed=model.get_submodule(family.embed),
            pos_embed=model.get_submodule(family.pos_embed) if family.pos_embed else None,
            blocks=blocks,
            ln_final=model.get_submodule(family.ln_final),
            unembed=model.get_submodule(family.unembed),
            rotary=model.get_submodule(family.rotary) if family.rotary else None,
        )
    except AttributeError as error:
        raise CheckpointError(
            f"{type(model).__name__} is laid out differently in this version of transformers ({error}); install the "
            f"versions in requirements.txt."
        ) from None
