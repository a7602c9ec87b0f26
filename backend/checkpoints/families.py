"""Where each supported architecture keeps its parts, under TransformerLens' architecture-neutral names. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from backend.errors import CheckpointError


@dataclass(frozen=True)
class Family:
    """Dotted paths of a transformers model; `ln1`, `attn`, `ln2` and `mlp` are relative to a block.

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
    ln_final: str
    unembed: str
    rotary: str | None = None


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
    rotary="model.rotary_emb",
)
FAMILIES = {
    "GPT2LMHeadModel": GPT2,
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "Qwen3ForCausalLM": LLAMA,
}
_UNNAMED = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
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


def default_architecture(model_type: str) -> str | None:
    """The causal model of a config that names its type but no architecture."""
    return _UNNAMED.get(model_type)
