"""A tiny random model of every supported class, from its own config class with small numbers."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from backend.models.architectures import family_of

LAYERS, WIDTH, HEADS, VOCABULARY, POSITIONS = 3, 32, 4, 100, 64
_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "hidden_dim", "n_inner", "ffn_hidden_size"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "qk_rope_head_dim", "kv_channels"), 8),
    **dict.fromkeys(("qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length"), POSITIONS),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "num_experts_per_token", "top_k_experts"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_intermediate_size"), 16),
    **dict.fromkeys(("shared_intermediate_size", "moe_shared_expert_intermediate_size", "intermediate_size_mlp"), 16),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("embedding_size", "attention_hidden_size", "lru_width", "mamba_d_ssm"), WIDTH),
    **dict.fromkeys(("n_group", "topk_group", "o_groups", "moe_layer_start_index"), 1),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "mamba_n_groups", "n_groups"), 1),
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "rotary_dim": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "state_size": 8,
    "ssm_state_size": 8,
    "num_heads": 4,
    "time_step_rank": 8,
    "mamba_dt_rank": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 4,
    "sliding_window": 6,
    "attention_window_size": 6,
    "local_attention": 6,
    "global_attn_every_n_layers": 2,
    "num_nextn_predict_layers": 0,
    "initializer_range": 0.3,
    "init_std": 0.3,
}
_OWN: dict[str, dict[str, Any]] = {  # by model_type: what its config insists on
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 6},
    "mamba": {"hidden_size": WIDTH, "expand": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1},
    "opt": {"word_embed_proj_dim": WIDTH},
    "falcon": {"new_decoder_architecture": False, "multi_query": True},
    "granite": {"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "logits_scaling": 4.0},
    "granitemoe": {"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "logits_scaling": 4.0},
    "granitemoehybrid": {"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "logits_scaling": 4.0},
    **{
        name: {"qk_rope_head_dim": 8, "head_dim": 8, "num_key_value_heads": 4, "q_lora_rank": 16}
        for name in ("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "glm_moe_dsa", "youtu")
    },
    "bamba": {"attn_layer_indices": [1]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "falcon_h1": {"mamba_d_ssm": 64},
    "zamba2": {
        **{"attention_hidden_size": 2 * WIDTH, "attention_head_dim": 16, "num_key_value_heads": 4},
        **{"layers_block_type": ["mamba", "hybrid", "mamba"], "hybrid_layer_ids": [1], "num_mem_blocks": 1},
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "albert": {"num_hidden_groups": 1, "inner_group_num": 1},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **{"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "share_att_key": True},
        **{"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0},
    },
    "electra": {"embedding_size": 16},
    **{
        name: {"pad_token_id": 1, "max_position_embeddings": POSITIONS + 2}
        for name in ("roberta", "xlm-roberta", "camembert", "mpnet")
    },
}


def tiny(architecture: str, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A model of a class with random weights, norms and biases included, large enough that logits spread."""
    model_type = family_of(architecture, "here").model_type
    kind = CONFIG_MAPPING[model_type]
    own = _OWN.get(model_type, {})
    defaults = kind()
    known = set(inspect.signature(kind).parameters) | set(vars(defaults))
    given = {name: value for name, value in _SMALL.items() if name in known}
    layers = (own | settings).get("num_hidden_layers", LAYERS)
    for name in ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers"):
        listed = getattr(defaults, name, None)
        if isinstance(listed, list) and name in known:
            given[name] = _both(listed, layers)
    config = kind(**given | own | settings)
    torch.manual_seed(seed)
    made = getattr(transformers, architecture)
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    config._attn_implementation = "sdpa" if made._supports_sdpa and not capped else "eager"
    model = made(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif "norm" not in name and parameter.std() < 0.05:
                parameter.normal_(0, 0.3)
    return model.eval()


def _both(listed: list[Any], layers: int) -> list[Any]:
    """Return kinds for a few layers in which every kind occurs."""
    kinds = list(dict.fromkeys(listed))
    return [kinds[i % len(kinds)] for i in range(layers)]
