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
_FLOATS = {"F64", "F32", "F16", "BF16"}
_QUANTIZED = re.compile(
    r"(?:^|[._:])(?:absmax|quant_state|quant_map|qweight|qzeros|qdata|g_idx|SCB|W_q|codebooks|codes|scales?|"
    r"scale_inv|scale_2|packed|zero_point)(?:$|[.:])"
)
_WRAPPED = {"OptimizedModule", "DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "PeftModel"}


def read_config(located: Located, place: str) -> dict[str, Any]:
    """Return the config without its quantization settings. Raises CheckpointError for values that are not finite."""
    config = {key: value for key, value in read_json(located.folder / CONFIG).items() if key not in _QUANTIZATION}
    wrong = next(_not_finite(config, ""), None)
    if wrong is not None:
        raise CheckpointError(
            f"{place}: {CONFIG} has {wrong}, which is not a finite number; correct it or save the checkpoint again."
        )
    return config


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
    return None if not first or first in _WRAPPED else str(first).removeprefix("FSDP")


def _not_finite(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key} = {value}"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _not_finite(item, key)
