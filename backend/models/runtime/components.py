"""The components of a loaded model under the same names for all families: TransformerLens 4's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.errors import CheckpointError
from backend.models.architectures import Family, Parts, family_of
from backend.models.runtime.layouts import Layout, decoder_layout, unchanged


@dataclass(frozen=True, eq=False)
class Block:
    """One block: `whole` maps the residual stream to the residual stream. A part that the block lacks is None.

    `attn` reads `ln1` and `mlp` reads `ln2`; `ln1_post` and `ln2_post` norm what they write. In an encoder with
    post-norms, `ln1` and `ln2` come last, and `mlp_out` (if any) is the second half of the MLP, including `ln2`. `o` is
    the output matrix of `attn`; its input is the concatenated outputs of the heads.
    """

    whole: nn.Module
    ln1: nn.Module | None = None
    attn: nn.Module | None = None
    o: nn.Module | None = None
    ln2: nn.Module | None = None
    mlp: nn.Module | None = None
    mlp_out: nn.Module | None = None
    ln1_post: nn.Module | None = None
    ln2_post: nn.Module | None = None


@dataclass(frozen=True, eq=False)
class ModelComponents:
    """The components of one model. `body` is the model without its head.

    `unembed` takes residuals after the final norm [rows, width] and returns scores [rows, tokens], which `transform`
    turns into logits (a scale, a soft cap); with a classification head logits [rows, classes]. In a model without a
    head it raises CheckpointError. In an encoder `ln_final` is the identity, and `unembed` is the whole classification
    head. `parallel`: attention and MLP both read the residual that enters the block. `multiplier` scales what both add.

    Names: https://github.com/TransformerLensOrg/TransformerLens, `component_mapping` of its architecture adapters.
    """

    embed: nn.Module
    blocks: tuple[Block, ...]
    ln_final: nn.Module
    unembed: nn.Module
    family: Family
    body: nn.Module
    transform: Callable[[Tensor], Tensor] = unchanged
    parallel: bool = False
    multiplier: float = 1.0

    def logits(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows outputs"]:
        """Return the logits of residuals after the final norm."""
        return self.transform(self.unembed(x))


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

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        super().__init__()
        self.of = [model]  # in a list, so that torch does not register the model as a submodule of its own head
        self.head = model.get_submodule("classifier")
        self.family = family

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Return the logits of the classes."""
        part = self.of[0].get_submodule
        match self.family.model_type:
            case "bert":
                x = part("bert.pooler")(x[:, None])
            case "deberta" | "deberta-v2":
                x = part("pooler")(x[:, None])
            case "distilbert":
                x = torch.relu(part("pre_classifier")(x))
            case "albert":
                x = part("albert.pooler_activation")(part("albert.pooler")(x))
            case "modernbert":
                x = part("head")(part(self.family.ln_final or "")(x))
            case _:
                x = x[:, None]  # the head takes the first position itself
        return self.head(x)


def anatomy_of(model: PreTrainedModel) -> ModelComponents:
    """Return the components of a model. Raises CheckpointError for an unsupported architecture."""
    family = family_of(type(model).__name__, str(model.config.name_or_path))
    layout = decoder_layout(model, family) if family.parts is None else None
    try:
        wholes = _blocks(model, family)
        return ModelComponents(
            embed=cast("nn.Module", model.get_input_embeddings()),
            blocks=tuple(_block(whole, layout, family.parts) for whole in wholes),
            ln_final=_found(model, layout.ln_final if layout else None) or nn.Identity(),
            unembed=_unembed(model, family),
            family=family,
            body=model.get_submodule(family.body) if family.body else model,
            transform=layout.transform if layout else unchanged,
            parallel=layout.parallel if layout else False,
            multiplier=float(getattr(model.config, "residual_multiplier", None) or 1.0),
        )
    except AttributeError as error:
        raise CheckpointError(
            f"{type(model).__name__} has other submodules in this version of transformers ({error}); install the "
            f"versions in requirements.txt."
        ) from None


def _blocks(model: PreTrainedModel, family: Family) -> list[nn.Module]:
    blocks = model.get_submodule(family.blocks)
    if family.model_type != "albert":
        return list(blocks.children())
    config: Any = model.config
    if len(blocks) < config.num_hidden_layers:  # pyright: ignore[reportArgumentType]
        _unroll(blocks, config)
    single = config.inner_group_num == 1
    return [group.get_submodule("albert_layers.0") if single else group for group in blocks.children()]


def _unroll(groups: Any, config: Any) -> None:
    """Give every block of an ALBERT modules of its own, on the same weights, so that hooks can tell blocks apart."""
    layers, shared = config.num_hidden_layers, list(groups)
    every = [_copied(shared[int(i / (layers / len(shared)))]) for i in range(layers)]
    del groups[:]
    groups.extend(every)
    config.num_hidden_groups = layers


def _copied(module: nn.Module) -> nn.Module:
    weights = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, weights)  # pyright: ignore[reportArgumentType] (the memo: weights are not copied)


def _found(module: nn.Module, path: str | None) -> nn.Module | None:
    """Return the submodule at a path; None where this config has none, which the self-check then judges."""
    try:
        return module.get_submodule(path) if path else None
    except AttributeError:
        return None


def _block(whole: nn.Module, layout: Layout | None, parts: Parts | None) -> Block:
    def find(path: str | None) -> nn.Module | None:
        return _found(whole, path)

    def row(paths: Iterable[str]) -> nn.Module | None:
        found = [module for module in map(find, paths) if module is not None]
        return found[0] if len(found) == 1 else nn.Sequential(*found).eval() if found else None

    if parts is not None:
        attn, o, mlp = find(parts.attn), parts.o, row(parts.mlp)
        out = None if attn is None else attn.get_submodule(o)
        return Block(whole, find(parts.ln1), attn, out, find(parts.ln2), mlp, find(parts.mlp_out))
    if layout is None:
        return Block(whole)
    attn = next((module for module in map(find, layout.attn) if module is not None), None)
    out = None if attn is None or layout.o is None else dict(attn.named_modules()).get(layout.o)
    norms = {name: find(getattr(layout, name)) for name in ("ln1", "ln2", "ln1_post", "ln2_post")}
    return Block(whole, attn=attn, o=out, mlp=row(layout.mlp), **norms)


def _unembed(model: PreTrainedModel, family: Family) -> nn.Module:
    if family.unembed is None:
        return NoHead(model, family)
    if family.kind == "encoder":
        return ClassificationHead(model, family).eval()
    return model.get_submodule(family.unembed)
