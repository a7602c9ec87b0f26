"""Where each supported architecture keeps its parts, under TransformerLens' architecture-neutral names. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from backend.errors import CheckpointError


@dataclass(frozen=True)
class Family:
    """Dotted paths of a transformers model; `ln1`, `attn`, `ln2`, `mlp` and `mlp_out` are relative to a block.

    In an encoder the norms stand behind attention and MLP, and nothing stands between the last block and the head:
    `unembed` is the module that ends the classification head, None in a model without one. `body` is the path of the
    part that a model with a head and one without share. `first_position` is the position id of the first token.
    `o`, the matrix that puts the heads together, is relative to `attn`. `rotary` is what turns positions into the
    angles that blocks rotate keys and queries by.
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
        """Whether the model itself answers: an encoder without a classification head does not."""
        return self.unembed is not None


GPT2 = Family(
    embed="transformer.wte",
    pos_embed="transformer.wpe",
    blocks="transformer.h",
    ln1="ln_1",
    attn="attn",
    o="c_proj",
    ln2="ln_2",
    mlp="mlp",
    ln_final="transformer.ln_f",
    unembed="lm_head",
    body="transformer",
)
LLAMA = Family(
    embed="model.embed_tokens",
    pos_embed=None,
    blocks="model.layers",
    ln1="input_layernorm",
    attn="self_attn",
    o="o_proj",
    ln2="post_attention_layernorm",
    mlp="mlp",
    ln_final="model.norm",
    unembed="lm_head",
    body="model",
    rotary="model.rotary_emb",
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


def _encoder(family: Family, body: str, head: str | None = None) -> Family:
    """The family where its body is the submodule `body` of the model, and `head` ends the classification head."""
    inside = {name: f"{body}.{getattr(family, name)}" for name in ("embed", "pos_embed", "blocks")}
    return replace(family, body=body, unembed=head, **inside)


FAMILIES = {
    "GPT2LMHeadModel": GPT2,
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "Qwen3ForCausalLM": LLAMA,
    "BertModel": BERT,
    "BertForMaskedLM": _encoder(BERT, "bert"),
    "BertForPreTraining": _encoder(BERT, "bert"),
    "BertForSequenceClassification": _encoder(BERT, "bert", "classifier"),
    "RobertaModel": ROBERTA,
    "RobertaForMaskedLM": _encoder(ROBERTA, "roberta"),
    "RobertaForSequenceClassification": _encoder(ROBERTA, "roberta", "classifier.out_proj"),
    "DistilBertModel": DISTILBERT,
    "DistilBertForMaskedLM": _encoder(DISTILBERT, "distilbert"),
    "DistilBertForSequenceClassification": _encoder(DISTILBERT, "distilbert", "classifier"),
}
_UNNAMED = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "distilbert": "DistilBertModel",
}


def family_of(architecture: str, place: str) -> Family:
    """The paths of an architecture; CheckpointError when Layershift does not know it."""
    try:
        return FAMILIES[architecture]
    except KeyError:
        raise CheckpointError(
            f"{place} is a {architecture}, which Layershift cannot take apart; use a checkpoint of one of "
            f"{', '.join(FAMILIES)}."
        ) from None


def body_of(architecture: str) -> str:
    """What two checkpoints must share to be compared: with encoders the body, whatever head stands on it."""
    family = FAMILIES[architecture]
    return architecture.partition("For")[0].removesuffix("Model") if family.kind == "encoder" else architecture


def default_architecture(model_type: str) -> str | None:
    """The class of a config that names its type but no architecture."""
    return _UNNAMED.get(model_type)
