"""The components of a loaded model under the same names for all families: TransformerLens 4's."""

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
    """One block: `attn` reads `ln1`, `mlp` reads `ln2`; `whole` maps the residual stream to the residual stream.

    In an encoder `ln1` and `ln2` come last, and `mlp_out` (if any) is the second half of the MLP, including `ln2`.
    `o` is the output matrix of `attn`; its input is the concatenated outputs of the heads.
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
    """The components of one model. `pos_embed` is None if positions are encoded by `rotary` instead.

    `unembed` takes residuals after the final norm [rows, width] and returns logits [rows, tokens], or with a
    classification head [rows, classes]; in a model without a head it raises CheckpointError. In an encoder `ln_final`
    is the identity, `unembed` is the whole classification head, and `embeddings` computes the residuals entering
    block 0 from tokens, positions, token types and a norm.

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
    """The head of a model without a head: raises CheckpointError when it is called."""

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        super().__init__()
        self.name, self.place = type(model).__name__, str(model.config.name_or_path)
        self.head = "classification head" if family.kind == "encoder" else "head"

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Raise CheckpointError."""
        raise CheckpointError(
            f"{self.place} is read as a {self.name}, which has no {self.head}, so it gives no answers; choose a "
            f"checkpoint that was trained to classify."
        )


class ClassificationHead(nn.Module):
    """The whole head of an encoder: from the last residual at [CLS] to the logits of the classes."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.of = [model]  # in a list, so that torch does not register the model as a submodule of its own head
        self.head = model.get_submodule("classifier")

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Return the logits of the classes."""
        model, name = self.of[0], type(self.of[0]).__name__
        if name.startswith("Roberta"):
            return self.head(x[:, None])
        if name.startswith("DistilBert"):
            return self.head(torch.relu(model.get_submodule("pre_classifier")(x)))
        return self.head(model.get_submodule("bert.pooler")(x[:, None]))


def anatomy_of(model: PreTrainedModel) -> ModelComponents:
    """Return the components of a model. Raises CheckpointError for an unsupported architecture."""
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
            f"{type(model).__name__} has other submodules in this version of transformers ({error}); install the "
            f"versions in requirements.txt."
        ) from None


def _unembed(model: PreTrainedModel, family: Family) -> nn.Module:
    if family.unembed is None:
        return NoHead(model, family)
    return model.get_submodule(family.unembed) if family.kind == "causal" else ClassificationHead(model).eval()
