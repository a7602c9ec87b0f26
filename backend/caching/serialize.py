"""Queries as canonical text, results as bytes: safetensors with a JSON header. No pickle on either side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

R = TypeVar("R")

NOT_IN_KEY = {"key": False}
"""Metadata of a dataclass field that travels with a query without being part of its cache key."""

_SCALARS = (bool, int, float, str, type(None))
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class ForeignEntry(Exception):
    """Bytes in the cache that are damaged, or not the result that was asked for. They are dropped and recomputed."""


def canonical(query: Any) -> str:
    """The one JSON text of a query, which is what its cache key hashes.

    A dataclass is the object of its fields without those marked `NOT_IN_KEY`; a tuple is a list; None, bool, int, float
    (by repr, so 1 and 1.0 differ) and str are themselves. Anything else, mutable containers and arrays included, is a
    TypeError that names the field: a query holds digests of such things, not the things.
    """
    return json.dumps(_plain(query, "query"), sort_keys=True, separators=(",", ":"))


def _plain(value: Any, place: str) -> Any:
    """`value` as what JSON knows; `place` is where it stands in the query, for the message."""
    if is_dataclass(value) and not isinstance(value, type):
        counted = [one.name for one in fields(value) if one.metadata.get("key", True)]
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in counted}
    if isinstance(value, tuple):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if type(value) in _SCALARS:
        return value
    raise TypeError(
        f"{place} is a {type(value).__name__}, which cannot be part of a cache key; "
        "use None, bool, int, float, str, tuples or dataclasses of those, or mark the field NOT_IN_KEY."
    )


def encode(result: Any) -> bytes:
    """A result as safetensors bytes, its scalars in a JSON header; `decode` is the inverse.

    A result is a dataclass whose fields are numpy arrays (bool, integer or float), None, bool, int, float, str, or
    tuples and dataclasses of those. The same result always gives the same bytes. TypeError names a field that holds
    anything else.
    """
    if not is_dataclass(result) or isinstance(result, type):
        raise TypeError(f"A result must be a dataclass, not a {type(result).__name__}.")
    arrays: dict[str, np.ndarray] = {}
    header = _pack(result, "", arrays)
    return save(arrays, metadata={"header": json.dumps(header, sort_keys=True)})


def _pack(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON; arrays go to `arrays` under their place, and leave {"array": place} behind."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("=") not in _DTYPES.values():
            raise TypeError(
                f"{place} is an array of {value.dtype}, which the cache does not keep; use numbers or bools."
            )
        # safetensors reads raw memory: a strided view would be saved as its neighbours.
        arrays[place] = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {"array": place}
    if isinstance(value, tuple):
        return [_pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        inside = {
            one.name: _pack(getattr(value, one.name), f"{place}.{one.name}".lstrip("."), arrays)
            for one in fields(value)
        }
        return {"result": _name(type(value)), "fields": inside}
    if type(value) in _SCALARS:
        return value
    raise TypeError(
        f"{place} is a {type(value).__name__}, which the cache does not keep; "
        "use arrays, scalars, and tuples or dataclasses of those."
    )


def decode(data: bytes, kind: type[R]) -> R:
    """The result of type `kind` that `encode` made `data` of; its arrays are read-only.

    Raises ForeignEntry for bytes that are damaged, or that hold another dataclass or other fields.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["header"])
        arrays = {place: _array(view) for place, view in deserialize(data)}
        return _made(kind, header, arrays)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ForeignEntry(f"The entry is damaged ({error}).") from None


def _made(kind: type[R], packed: dict[str, Any], arrays: dict[str, np.ndarray]) -> R:
    """The dataclass `kind` of what `_pack` made of it; ForeignEntry where that was another, or has other fields."""
    if packed["result"] != _name(kind) or packed["fields"].keys() != _hints(kind).keys():
        raise ForeignEntry(f"The entry holds a {packed['result']}, not a {_name(kind)}.")
    hints = _hints(kind)
    return kind(**{field: _unpack(value, arrays, hints[field]) for field, value in packed["fields"].items()})


@cache
def _hints(kind: type) -> dict[str, frozenset[type]]:
    """Per field of a dataclass the dataclasses that its annotation names, at any depth."""
    hints = get_type_hints(kind)
    return {one.name: frozenset(_dataclasses(hints[one.name])) for one in fields(kind)}


def _dataclasses(hint: Any) -> Iterator[type]:
    """Dataclasses inside a type annotation: `Estimate` of `tuple[Estimate[float], ...] | None`."""
    for part in (hint, get_origin(hint)):
        if isinstance(part, type) and is_dataclass(part):
            yield part
    for inside in get_args(hint):
        yield from _dataclasses(inside)


def _array(view: dict[str, Any]) -> np.ndarray:
    """One tensor of a safetensors file, read-only."""
    array = np.frombuffer(bytes(view["data"]), dtype=_DTYPES[view["dtype"]]).reshape(view["shape"])
    array.flags.writeable = False
    return array


def _unpack(value: Any, arrays: dict[str, np.ndarray], kinds: frozenset[type]) -> Any:
    """The inverse of `_pack`; only the dataclasses `kinds` of the field's annotation are made."""
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict):
        return _made({_name(kind): kind for kind in kinds}[value["result"]], value, arrays)
    if isinstance(value, list):
        return tuple(_unpack(item, arrays, kinds) for item in value)
    return value


def _name(kind: type) -> str:
    """How a result's dataclass is called in the header."""
    return f"{kind.__module__}.{kind.__qualname__}"
