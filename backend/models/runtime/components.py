"""An opened model's parts under one set of names for all families: TransformerLens 4's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.errors import CheckpointError
from backend.models.architectures import Family, family_of


@dataclass(frozen=True, eq=False)
class Block:
    """One block: `ln1` is read by `attn`, `ln2` by `mlp`; `whole` takes the residual stream and returns it.

    In an encoder `ln1` and `ln2` come last, and `mlp_out` (if any) is the second half of the MLP, with `ln2` in it.
    `o` is the last matrix of `attn`, which takes what the heads found, one behind the other.
    """

    whole: nn.Module
    ln1: nn.Module
    attn: nn.Module
    o: nn.Module
    ln2: nn.Module
    mlp: nn.Module
    mlp_out: nn.Module | None = None


@dataclass(frozen=True, eq=False)
class ModelComponents:
    """The parts of one model. `pos_embed` is None where positions rotate keys and queries instead, by `rotary`.

    `unembed` takes residuals behind the final norm [rows, width] and returns logits [rows, tokens], or with a
    classification head [rows, classes]; in a model without a head it raises CheckpointError. In an encoder `ln_final`
    passes everything through, and `unembed` is the whole classification head. There `embeddings` is all that comes
    before block 0: tokens, positions, token types and a norm.

    Names: https://github.com/TransformerLensOrg/TransformerLens, `component_mapping` of its architecture adapters.
    """

    embed: nn.Module
    pos_embed: nn.Module | None
    blocks: tuple[Block, ...]
    ln_final: nn.Module
    unembed: nn.Module
    family: Family
    rotary: nn.Module | None = None
    embeddings: nn.Module | None = None


class NoHead(nn.Module):
    """Where the head of a model would be that has none: CheckpointError when it is asked."""

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        super().__init__()
        self.name, self.place = type(model).__name__, str(model.config.name_or_path)
        self.head = "classification head" if family.kind == "encoder" else "head"

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Raise."""
        raise CheckpointError(
            f"{self.place} is read as a {self.name}, which has no {self.head} and answers nothing; choose a checkpoint "
            f"that was trained to classify."
        )


class ClassificationHead(nn.Module):
    """All that an encoder does with the last residual at [CLS] to answer."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.of = [model]  # in a list, so that the model does not become a part of its own head
        self.head = model.get_submodule("classifier")

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Logits."""
        model, name = self.of[0], type(self.of[0]).__name__
        if name.startswith("Roberta"):
            return self.head(x[:, None])
        if name.startswith("DistilBert"):
            return self.head(torch.relu(model.get_submodule("pre_classifier")(x)))
        return self.head(model.get_submodule("bert.pooler")(x[:, None]))


def anatomy_of(model: PreTrainedModel) -> ModelComponents:
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
                mlp_out=block.get_submodule(family.mlp_out) if family.mlp_out else None,
            )
            for block in model.get_submodule(family.blocks).children()
        )
        return ModelComponents(
            embed=model.get_submodule(family.embed),
            pos_embed=model.get_submodule(family.pos_embed) if family.pos_embed else None,
            blocks=blocks,
            ln_final=model.get_submodule(family.ln_final) if family.ln_final else nn.Identity(),
            unembed=_unembed(model, family),
            family=family,
            rotary=model.get_submodule(family.rotary) if family.rotary else None,
            embeddings=model.get_submodule(family.embed.rpartition(".")[0]) if family.kind == "encoder" else None,
        )
    except AttributeError as error:
        raise CheckpointError(
            f"{type(model).__name__} is laid out differently in this version of transformers ({error}); install the "
            f"versions in requirements.txt."
        ) from None


def _unembed(model: PreTrainedModel, family: Family) -> nn.Module:
    if family.unembed is None:
        return NoHead(model, family)
    return model.get_submodule(family.unembed) if family.kind == "causal" else ClassificationHead(model).eval()
