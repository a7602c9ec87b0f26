"""Paths of the components of each supported architecture, under TransformerLens' names. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from backend.errors import CheckpointError


@dataclass(frozen=True)
class Family:
    """Dotted paths of a transformers model; `ln1`, `attn`, `ln2`, `mlp` and `mlp_out` are relative to a block.

    `unembed` reads the last residual: the matrix that scores the next token, or the last module of a classification
    head; None in a model without either. In an encoder the norms follow attention and MLP, and the head directly
    follows the last block. `body` is the path of the body inside a model with a head. `first_position` is the position
    id of the first token. `o`, the output matrix of the attention heads, is relative to `attn`. `rotary` computes the
    angles of rotary position embeddings.
    """

    embed: str
    pos_embed: str | None
    blocks: str
    ln1: str
    attn: str
    o: str
    ln2: str
    mlp: str
    ln_final: str | None
    unembed: str | None
    rotary: str | None = None
    mlp_out: str | None = None
    body: str = ""
    kind: Literal["causal", "encoder"] = "causal"
    first_position: int = 0

    @property
    def has_head(self) -> bool:
        """Return whether the model has a head."""
        return self.unembed is not None

    @property
    def predicts(self) -> bool:
        """Return whether the head scores the next token; a classification head does not."""
        return self.unembed == "lm_head"


GPT2 = Family(
    embed="wte",
    pos_embed="wpe",
    blocks="h",
    ln1="ln_1",
    attn="attn",
    o="c_proj",
    ln2="ln_2",
    mlp="mlp",
    ln_final="ln_f",
    unembed=None,
)
LLAMA = Family(
    embed="embed_tokens",
    pos_embed=None,
    blocks="layers",
    ln1="input_layernorm",
    attn="self_attn",
    o="o_proj",
    ln2="post_attention_layernorm",
    mlp="mlp",
    ln_final="norm",
    unembed=None,
    rotary="rotary_emb",
)
BERT = Family(
    embed="embeddings.word_embeddings",
    pos_embed="embeddings.position_embeddings",
    blocks="encoder.layer",
    ln1="attention.output.LayerNorm",
    attn="attention",
    o="output.dense",
    ln2="output.LayerNorm",
    mlp="intermediate",
    mlp_out="output",
    ln_final=None,
    unembed=None,
    kind="encoder",
)
ROBERTA = replace(BERT, first_position=2)
DISTILBERT = replace(
    BERT,
    blocks="transformer.layer",
    ln1="sa_layer_norm",
    o="out_lin",
    ln2="output_layer_norm",
    mlp="ffn",
    mlp_out=None,
)


_OUTSIDE_BLOCKS = ("embed", "pos_embed", "blocks", "ln_final", "rotary")


def _with_head(family: Family, body: str, head: str | None = None) -> Family:
    """Return the family of a model with the body at path `body` and the head (or its last module) at path `head`."""
    paths = {name: getattr(family, name) for name in _OUTSIDE_BLOCKS}
    inside = {name: f"{body}.{path}" for name, path in paths.items() if path is not None}
    return replace(family, body=body, unembed=head, **inside)


FAMILIES = {
    "GPT2LMHeadModel": _with_head(GPT2, "transformer", "lm_head"),
    "GPT2ForSequenceClassification": _with_head(GPT2, "transformer", "score"),
    "GPT2Model": GPT2,
    **{
        name + end: family
        for name in ("Llama", "Mistral", "Qwen2", "Qwen3")
        for end, family in (
            ("ForCausalLM", _with_head(LLAMA, "model", "lm_head")),
            ("ForSequenceClassification", _with_head(LLAMA, "model", "score")),
            ("Model", LLAMA),
        )
    },
    "BertModel": BERT,
    "BertForMaskedLM": _with_head(BERT, "bert"),
    "BertForPreTraining": _with_head(BERT, "bert"),
    "BertForSequenceClassification": _with_head(BERT, "bert", "classifier"),
    "RobertaModel": ROBERTA,
    "RobertaForMaskedLM": _with_head(ROBERTA, "roberta"),
    "RobertaForSequenceClassification": _with_head(ROBERTA, "roberta", "classifier.out_proj"),
    "DistilBertModel": DISTILBERT,
    "DistilBertForMaskedLM": _with_head(DISTILBERT, "distilbert"),
    "DistilBertForSequenceClassification": _with_head(DISTILBERT, "distilbert", "classifier"),
}
_TYPES = {  # by model_type: prefix of its classes, and the class of a config that names none
    "gpt2": ("GPT2", "GPT2LMHeadModel"),
    "llama": ("Llama", "LlamaForCausalLM"),
    "mistral": ("Mistral", "MistralForCausalLM"),
    "qwen2": ("Qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3", "Qwen3ForCausalLM"),
    "bert": ("Bert", "BertModel"),
    "roberta": ("Roberta", "RobertaModel"),
    "distilbert": ("DistilBert", "DistilBertModel"),
}


def family_of(architecture: str, place: str) -> Family:
    """Return the paths of an architecture. Raises CheckpointError for an unsupported one."""
    try:
        return FAMILIES[architecture]
    except KeyError:
        raise CheckpointError(
            f"{place} is a {architecture}, which is not a supported architecture; use a checkpoint of one of "
            f"{', '.join(FAMILIES)}."
        ) from None


def model_type_of(architecture: str) -> str | None:
    """Return the `model_type` of a supported class, or None."""
    return next((name for name, (start, _) in _TYPES.items() if architecture.startswith(start)), None)


def kind_of(model_type: str) -> Literal["causal", "encoder"] | None:
    """Return the kind of a model type, as `family` in study.toml names it; None for an unsupported type."""
    return FAMILIES[_TYPES[model_type][1]].kind if model_type in _TYPES else None


def default_architecture(model_type: str, head: str | None = None) -> str:
    """Return the class for a config that names only its type: the class with that head, such as "ForMaskedLM"."""
    if model_type not in _TYPES:
        return f"model of type {model_type}"
    start, usual = _TYPES[model_type]
    return f"{start}{head}" if head else usual
