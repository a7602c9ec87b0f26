"""config.json as a model is made of it, and whether the weights beside it are plain numbers. No torch."""

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
    """The config, without what it says of quantization. Raises CheckpointError for values that are not finite."""
    config = {key: value for key, value in read_json(located.folder / CONFIG).items() if key not in _QUANTIZATION}
    strange = next(_not_finite(config, ""), None)
    if strange is not None:
        raise CheckpointError(
            f"{place}: {CONFIG} says {strange}, which is not a finite number; correct it or save the checkpoint again."
        )
    return config


def refuse_quantized(entries: tuple[Entry, ...], place: str) -> None:
    """Raises CheckpointError unless the weights are plain numbers."""
    for entry in entries:
        if _QUANTIZED.search(entry.name) or (entry.name.endswith(".weight") and entry.dtype not in _FLOATS):
            raise CheckpointError(
                f"{place} is quantized ({entry.name} is stored as {entry.dtype}); point to the checkpoint with its "
                f"plain weights."
            )


def leftover_quantization(located: Located) -> str | None:
    """The key of config.json that calls the weights quantized though they are plain; None where there is none."""
    return next((key for key in _QUANTIZATION if read_json(located.folder / CONFIG).get(key)), None)


def named_class(config: dict[str, Any]) -> str | None:
    """The class that the config names, without the mark of FSDP; None for none, or for the name of a wrapper."""
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
