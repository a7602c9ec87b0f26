"""Queries as canonical text; results as bytes: safetensors with a JSON header. No pickle."""

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
"""Metadata of a dataclass field that is not part of the cache key of its query."""

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
    """Cached bytes that are damaged or hold another result. They are dropped and recomputed."""


def canonical(query: Any) -> str:
    """Return the unique JSON text of a query, the input of the hash in its cache key.

    A dataclass is an object of its fields, without those marked `NOT_IN_KEY`; a tuple is a list; None, bool, int, float
    (by repr, so 1 and 1.0 differ) and str are unchanged. Anything else, such as a mutable container or an array, is a
    TypeError that names the field: a query holds digests of such data instead.
    """
    return json.dumps(_plain(query, "query"), sort_keys=True, separators=(",", ":"))


def _plain(value: Any, place: str) -> Any:
    """Convert `value` to JSON types; `place` is its position in the query, for the error message."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [item.name for item in fields(value) if item.metadata.get("key", True)]
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in names}
    if isinstance(value, tuple):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if type(value) in _SCALARS:
        return value
    raise TypeError(
        f"{place} is a {type(value).__name__}, which cannot be part of a cache key; "
        "use None, bool, int, float, str, tuples or dataclasses of those, or mark the field NOT_IN_KEY."
    )


def encode(result: Any) -> bytes:
    """Return a result as safetensors bytes, with scalars in a JSON header; `decode` is the inverse.

    A result is a dataclass whose fields are numpy arrays (bool, integer or float), None, bool, int, float, str, or
    tuples and dataclasses of those. Equal results give equal bytes. Raises TypeError, which names the field, for
    anything else.
    """
    if not is_dataclass(result) or isinstance(result, type):
        raise TypeError(f"A result must be a dataclass, not a {type(result).__name__}.")
    arrays: dict[str, np.ndarray] = {}
    header = _pack(result, "", arrays)
    return save(arrays, metadata={"header": json.dumps(header, sort_keys=True)})


def _pack(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """Convert `value` to JSON; move arrays to `arrays` by place, and replace them by {"array": place}."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("=") not in _DTYPES.values():
            raise TypeError(
                f"{place} is an array of {value.dtype}, which the cache does not keep; use numbers or bools."
            )
        # safetensors reads raw memory, so strided views must be copied first.
        arrays[place] = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {"array": place}
    if isinstance(value, tuple):
        return [_pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        inside = {
            item.name: _pack(getattr(value, item.name), f"{place}.{item.name}".lstrip("."), arrays)
            for item in fields(value)
        }
        return {"result": _name(type(value)), "fields": inside}
    if type(value) in _SCALARS:
        return value
    raise TypeError(
        f"{place} is a {type(value).__name__}, which the cache does not keep; "
        "use arrays, scalars, and tuples or dataclasses of those."
    )


def decode(data: bytes, kind: type[R]) -> R:
    """Return the result of type `kind` from the bytes of `encode`; its arrays are read-only.

    Raises ForeignEntry for damaged bytes, another dataclass or other fields.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["header"])
        arrays = {place: _array(view) for place, view in deserialize(data)}
        return _build(kind, header, arrays)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ForeignEntry(f"The entry is damaged ({error}).") from None


def _build(kind: type[R], packed: dict[str, Any], arrays: dict[str, np.ndarray]) -> R:
    """Build the dataclass `kind` from the output of `_pack`. Raises ForeignEntry for another class or other fields."""
    if packed["result"] != _name(kind) or packed["fields"].keys() != _hints(kind).keys():
        raise ForeignEntry(f"The entry holds a {packed['result']}, not a {_name(kind)}.")
    hints = _hints(kind)
    return kind(**{field: _unpack(value, arrays, hints[field]) for field, value in packed["fields"].items()})


@cache
def _hints(kind: type) -> dict[str, frozenset[type]]:
    """Return, for each field of a dataclass, the dataclasses in its annotation, at any depth."""
    hints = get_type_hints(kind)
    return {item.name: frozenset(_dataclasses(hints[item.name])) for item in fields(kind)}


def _dataclasses(hint: Any) -> Iterator[type]:
    """Yield the dataclasses inside a type annotation: `Estimate` of `tuple[Estimate[float], ...] | None`."""
    for part in (hint, get_origin(hint)):
        if isinstance(part, type) and is_dataclass(part):
            yield part
    for inside in get_args(hint):
        yield from _dataclasses(inside)


def _array(view: dict[str, Any]) -> np.ndarray:
    """Return a tensor of a safetensors file as a read-only array."""
    array = np.frombuffer(bytes(view["data"]), dtype=_DTYPES[view["dtype"]]).reshape(view["shape"])
    array.flags.writeable = False
    return array


def _unpack(value: Any, arrays: dict[str, np.ndarray], kinds: frozenset[type]) -> Any:
    """Return the value; the inverse of `_pack`. Only the dataclasses `kinds` of the annotation are built."""
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict):
        return _build({_name(kind): kind for kind in kinds}[value["result"]], value, arrays)
    if isinstance(value, list):
        return tuple(_unpack(item, arrays, kinds) for item in value)
    return value


def _name(kind: type) -> str:
    """Return the name of a dataclass in the header."""
    return f"{kind.__module__}.{kind.__qualname__}"
