"""The supported classes, and the paths of their parts that can be known without opening a model. No torch.

Decoders: every one that transformers implements and TransformerLens has an adapter for. Encoders: one row per layout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from backend.errors import CheckpointError
from backend.models.class_names import BODY, CLASSES, MASKED, TOKENS, Decoder, decoder, decoders, table

Kind = Literal["causal", "encoder"]
Head = Literal["tokens", "classes"]


@dataclass(frozen=True)
class Parts:
    """Paths of the parts of an encoder's block, relative to the block; `o` is relative to `attn`.

    `mlp` may be several modules, one after the other. `mlp_out`, if any, is the second half of an MLP that adds the
    residual and ends with `ln2`. `post_norm`: attention and MLP each add to the residual, and then comes the norm.
    `attn_adds`: the attention module adds the residual itself, and ends with `ln1`.
    """

    ln1: str
    attn: str
    o: str
    ln2: str
    mlp: tuple[str, ...]
    mlp_out: str | None = None
    post_norm: bool = True
    attn_adds: bool = True


@dataclass(frozen=True)
class Family:
    """Dotted paths of a transformers class.

    `body` is the path of the body inside a model with a head, empty in a body. `unembed` reads the last residual: the
    matrix that scores the next token, or the last module of a classification head; None in a model without either.
    `head` says which. `first_position` is the position id of the first token. `parts` are those of an encoder's block;
    a decoder's come from TransformerLens when the model is opened. `tokens` is a decoder's class that scores the next
    token. In an encoder with pre-norms, `ln_final` is the norm after the last block.
    """

    model_type: str
    kind: Kind
    body: str
    embed: str
    blocks: str
    unembed: str | None = None
    head: Head | None = None
    first_position: int = 0
    parts: Parts | None = None
    tokens: str = ""
    ln_final: str | None = None

    @property
    def has_head(self) -> bool:
        """Return whether the model has a head."""
        return self.head is not None

    @property
    def predicts(self) -> bool:
        """Return whether the head scores the next token; a classification head does not."""
        return self.head == "tokens"


_BERT = Parts(
    ln1="attention.output.LayerNorm",
    attn="attention",
    o="output.dense",
    ln2="output.LayerNorm",
    mlp=("intermediate",),
    mlp_out="output",
)
_MPNET = replace(_BERT, ln1="attention.LayerNorm", o="attn.o")
_DISTILBERT = Parts(
    ln1="sa_layer_norm", attn="attention", o="out_lin", ln2="output_layer_norm", mlp=("ffn",), attn_adds=False
)
_ALBERT = Parts(
    ln1="attention.LayerNorm",
    attn="attention",
    o="dense",
    ln2="full_layer_layer_norm",
    mlp=("ffn", "activation", "ffn_output"),
)
_MODERNBERT = Parts(
    ln1="attn_norm", attn="attn", o="Wo", ln2="mlp_norm", mlp=("mlp",), post_norm=False, attn_adds=False
)


@dataclass(frozen=True)
class _Encoder:
    """An encoder's row: its prefix inside a model with a head, its parts, and the last module of its head."""

    body: str
    parts: Parts = _BERT
    blocks: str = "encoder.layer"
    embed: str = "embeddings.word_embeddings"
    head: str = "classifier"
    first_position: int = 0
    ln_final: str | None = None


_ROBERTA = _Encoder("roberta", head="classifier.out_proj", first_position=2)
_ENCODERS = {  # by model_type
    "bert": _Encoder("bert"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _Encoder("distilbert", _DISTILBERT, "transformer.layer"),
    "electra": _Encoder("electra", head="classifier.out_proj"),
    "albert": _Encoder("albert", _ALBERT, "encoder.albert_layer_groups"),
    "deberta": _Encoder("deberta"),
    "deberta-v2": _Encoder("deberta"),
    "mpnet": _Encoder("mpnet", _MPNET, head="classifier.out_proj", first_position=2),
    "modernbert": _Encoder("model", _MODERNBERT, "layers", "embeddings.tok_embeddings", ln_final="final_norm"),
}
_PRETRAINING = "ForPreTraining"


def family_of(architecture: str, place: str) -> Family:
    """Return the paths of an architecture. Raises CheckpointError for an unsupported one."""
    for model_type in types_of(architecture):
        family = _encoder(model_type, architecture) if model_type in _ENCODERS else _decoder(model_type, architecture)
        if family is not None:
            return family
    raise CheckpointError(
        f"{place} is a {architecture}, which is not a supported architecture; use a checkpoint of a decoder that "
        f"TransformerLens has an adapter for, such as GPT-2, Llama, Qwen or Gemma, or of an encoder ("
        f"{', '.join(_ENCODERS)})."
    )


@cache
def types_of(architecture: str) -> tuple[str, ...]:
    """Return the model types that a class reads, the one it is named for first; none for an unsupported class."""
    named = {name for key in (TOKENS, CLASSES, MASKED, BODY) for name, one in table(key).items() if one == architecture}
    named |= {name for name in _ENCODERS if f"{_stem(name)}{_PRETRAINING}" == architecture}
    return tuple(sorted(named, key=lambda name: (name not in _ENCODERS and decoder(name) is None, name)))


def _encoder(model_type: str, architecture: str) -> Family | None:
    row = _ENCODERS[model_type]
    if architecture not in encoder_classes(model_type):
        return None
    bare, classifies = architecture == table(BODY)[model_type], architecture == table(CLASSES)[model_type]
    inside = "" if bare else f"{row.body}."
    return Family(
        model_type=model_type,
        kind="encoder",
        body="" if bare else row.body,
        embed=inside + row.embed,
        blocks=inside + row.blocks,
        unembed=row.head if classifies else None,
        head="classes" if classifies else None,
        first_position=row.first_position,
        parts=row.parts,
        ln_final=f"{inside}{row.ln_final}" if row.ln_final else None,
    )


def encoder_classes(model_type: str) -> tuple[str, ...]:
    """Return the classes of an encoder that are supported."""
    names = [table(key)[model_type] for key in (BODY, MASKED, CLASSES)]
    return (*names, f"{_stem(model_type)}{_PRETRAINING}")


def _stem(model_type: str) -> str:
    return table(BODY)[model_type].removesuffix("Model")


def _decoder(model_type: str, architecture: str) -> Family | None:
    row = decoder(model_type)
    heads: dict[str | None, tuple[str | None, Head | None]] = {} if row is None else _heads(row)
    if row is None or architecture not in heads:
        return None
    unembed, head = heads[architecture]
    inside = f"{row.body}." if head is None else ""
    return Family(
        model_type=model_type,
        kind="causal",
        body="" if head is None else row.body,
        embed=row.embed.removeprefix(inside),
        blocks=row.blocks.removeprefix(inside),
        unembed=unembed,
        head=head,
        tokens=row.tokens,
    )


def _heads(row: Decoder) -> dict[str | None, tuple[str | None, Head | None]]:
    return {row.classes: ("score", "classes"), row.bare: (None, None), row.tokens: (row.head, "tokens")}


def kind_of(model_type: str) -> Kind | None:
    """Return the kind of a model type, as `family` in study.toml names it; None for an unsupported type."""
    if model_type in _ENCODERS:
        return "encoder"
    return "causal" if decoder(model_type) else None


def default_architecture(model_type: str, head: str | None = None) -> str:
    """Return the class for a config that names only its type: the class with that head, such as "ForMaskedLM"."""
    row = decoder(model_type)
    if model_type in _ENCODERS:
        return f"{_stem(model_type)}{head}" if head else table(BODY)[model_type]
    if row is None:
        return f"model of type {model_type}"
    if head == "ForSequenceClassification" and row.classes:
        return row.classes
    return row.tokens.partition("For")[0].removesuffix("LMHeadModel") + head if head else row.tokens


def classifier_of(architecture: str) -> str | None:
    """Return the class of the same body with a classification head; None if there is none."""
    kinds = types_of(architecture)
    return table(CLASSES).get(kinds[0]) if kinds else None


@cache
def embeddings(model_type: str | None = None) -> frozenset[str]:
    """Return the paths of the input embedding of a model type, with and without the body's name; None: of every one."""
    of_type = decoder(model_type) if model_type and model_type not in _ENCODERS else None
    rows = decoders().values() if model_type is None else [of_type] if of_type else []
    encoders = [row for name, row in _ENCODERS.items() if model_type in (None, name)]
    paths = {path for row in encoders for path in (row.embed, f"{row.body}.{row.embed}")}
    return frozenset(paths | {path for row in rows for path in (row.embed, row.embed.removeprefix(f"{row.body}."))})
