"""Read config.json, and check that the checkpoint's weights are not quantized. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from backend.errors import CheckpointError
from backend.models.files.locate import CONFIG, Located, read_json
from backend.models.files.safetensors_headers import Entry

_QUANTIZATION = ("quantization_config", "compression_config")
OF_A_RUN = {  # settings of the run that saved the config: what it returned, kept or computed in, not the function
    *("return_dict", "use_return_dict", "torchscript", "output_attentions", "output_hidden_states"),
    *("output_router_logits", "use_cache", "gradient_checkpointing", "chunk_size_feed_forward", "dtype", "torch_dtype"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_autoset"),
}
_FLOATS = {"F64", "F32", "F16", "BF16"}
_QUANTIZED = re.compile(
    r"(?:^|[._:])(?:absmax|quant_state|quant_map|qweight|qzeros|qdata|g_idx|SCB|W_q|codebooks|codes|scales?|"
    r"scale_inv|scale_2|packed|zero_point)(?:$|[.:])"
)
_KINDS: dict[type, tuple[str, ...]] = {
    str: ("architectures", "model_type", "problem_type"),
    int: ("num_labels",),
    dict: ("id2label", "label2id"),
}
_NAMED_KINDS = {str: "text", int: "a whole number", dict: "an object"}
_WRAPPED = re.compile(
    r"OptimizedModule|DistributedDataParallel|DataParallel|FullyShardedDataParallel|(PeftModel|AutoModel)\w*"
)


def read_config(located: Located, place: str) -> dict[str, Any]:
    """Return the config without settings of quantization or of one run. Raises CheckpointError for wrong values."""
    dropped = {*_QUANTIZATION, *OF_A_RUN}
    config = {key: value for key, value in read_json(located.folder / CONFIG).items() if key not in dropped}
    wrong = next(_not_finite(config, ""), None)
    if wrong is not None:
        raise CheckpointError(
            f"{place}: {CONFIG} has {wrong}, which is not a finite number; correct it or save the checkpoint again."
        )
    if (fault := _misshapen(config)) is not None:
        raise CheckpointError(f"{place}: {CONFIG} has {fault}; correct it or save the checkpoint again.")
    return config


def _misshapen(config: dict[str, Any]) -> str | None:
    """Return what a value of another kind than transformers writes should be, with its key; None if all are right."""
    for key, value in config.items():
        kind = next((kind for kind, keys in _KINDS.items() if key in keys), None)
        if kind is None or value is None:
            continue
        items = value if kind is str and key == "architectures" and isinstance(value, list) else [value]
        if any(not isinstance(item, kind) or (kind is int and isinstance(item, bool)) for item in items):
            return f"{key}, which must be {_NAMED_KINDS[kind]}"
    return None


def refuse_quantized(entries: tuple[Entry, ...], place: str) -> None:
    """Raise CheckpointError for quantized weights."""
    for entry in entries:
        if _QUANTIZED.search(entry.name) or (entry.name.endswith(".weight") and entry.dtype not in _FLOATS):
            raise CheckpointError(
                f"{place} is quantized ({entry.name} is stored as {entry.dtype}); point to the checkpoint with its "
                f"plain weights."
            )


def leftover_quantization(located: Located) -> str | None:
    """Return the key of config.json that wrongly declares plain weights quantized, or None."""
    return next((key for key in _QUANTIZATION if read_json(located.folder / CONFIG).get(key)), None)


def named_class(config: dict[str, Any]) -> str | None:
    """Return the class that the config names, without FSDP's prefix; None for a missing or a wrapper's name."""
    named = config.get("architectures")
    first = named if isinstance(named, str) else named[0] if isinstance(named, list) and named else None
    return None if not first or _WRAPPED.fullmatch(str(first)) else str(first).removeprefix("FSDP")


def _not_finite(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key} = {value}"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _not_finite(item, key)
