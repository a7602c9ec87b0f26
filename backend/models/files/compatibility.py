"""Check that a checkpoint is comparable to the base: same architecture, sizes and tokens. No torch."""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

from backend.errors import CheckpointError
from backend.models.files.locate import CONFIG
from backend.study.facts import Facts, body_of

_SHOWN = {"architecture": "architecture", "layers": "number of blocks", "width": "width of the residual stream"}
_SETTINGS = (  # of config.json: they change what the same weights compute
    *("num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "num_experts_per_tok"),
    *("hidden_act", "hidden_activation", "activation_function"),
    *("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "norm_eps"),
    *("rope_theta", "rope_scaling", "rope_parameters", "rotary_pct", "partial_rotary_factor", "rotary_dim"),
    *("sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "position_embedding_type"),
    *("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "attention_multiplier"),
    *("residual_multiplier", "embedding_multiplier", "logits_scaling", "logit_scale"),
    *("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "use_parallel_residual", "parallel_attn", "alibi"),
)
_LONGEST_VALUE = 60
_UNDECODED = "\N{REPLACEMENT CHARACTER}"
_RESERVED = re.compile(r"\W*(unused|reserved|extra)\w*\W*", re.IGNORECASE)


def compare_facts(facts: Facts, base: Facts, place: str) -> None:
    """Raise CheckpointError when architecture, number of blocks or width differ; vocabularies may."""
    for key, name in _SHOWN.items():
        value, base_value = getattr(facts, key), getattr(base, key)
        if key == "architecture" and body_of(value) == body_of(base_value):
            continue
        if value != base_value:
            raise CheckpointError(
                f"{place} cannot be compared with the base: its {name} is {value}, the base's {base_value}; name "
                f"checkpoints fine-tuned from this base, or another base."
            )


def other_settings(config: dict[str, Any], base: dict[str, Any], place: str) -> str | None:
    """Return a sentence on the first setting that changes what equal weights compute; None if all that both have agree.

    A fine-tune may change one on purpose (longer rotary angles), and the wrong config.json may lie beside the weights.
    """
    for key in _SETTINGS:
        if key in config and key in base and config[key] != base[key]:
            own, its = (_shown(values[key]) for values in (config, base))
            return (
                f"{place}: {CONFIG} has {key} = {own} and that of the base {its}; the checkpoint is computed with its "
                f"own, so copy the {CONFIG} that was saved with its weights if this is wrong."
            )
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def compare_tokens(tokenizer: Tokenizer, base: Tokenizer, place: str) -> None:
    """Raise CheckpointError when an id in both vocabularies decodes to different text in the two.

    A reserved token that only one of them has renamed counts as equal; prompts that use it are checked elsewhere.
    """
    tokens, base_tokens = _by_id(tokenizer), _by_id(base)
    added = tokenizer.get_added_tokens_decoder().keys() | base.get_added_tokens_decoder().keys()
    differing = sorted(
        token_id
        for token_id in tokens.keys() & base_tokens.keys()
        if tokens[token_id] != base_tokens[token_id] and token_id not in added
    )
    texts = tokenizer.decode_batch([[token_id] for token_id in differing], skip_special_tokens=False)
    base_texts = base.decode_batch([[token_id] for token_id in differing], skip_special_tokens=False)
    for token_id, text, base_text in zip(differing, texts, base_texts, strict=True):
        reserved = _RESERVED.fullmatch(tokens[token_id]) or _RESERVED.fullmatch(base_tokens[token_id])
        differs = text != base_text or _UNDECODED in text  # parts of characters all decode to the replacement character
        if differs and not reserved:
            raise CheckpointError(
                f"{place} cannot be compared with the base: token {token_id} is {tokens[token_id]!r} here and "
                f"{base_tokens[token_id]!r} in the base; name checkpoints fine-tuned from this base, with its "
                f"tokenizer."
            )


def _by_id(tokenizer: Tokenizer) -> dict[int, str]:
    return {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
