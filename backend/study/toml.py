"""Write TOML, and make what was read from it immutable."""

from __future__ import annotations

import json
from typing import Any


def to_toml(raw: dict[str, Any]) -> str:
    """Format the mapping as TOML: scalars first, then tables, then arrays of tables."""
    lines = [f"{key} = {_scalar(value)}" for key, value in raw.items() if not _is_table(value)]
    for key, value in raw.items():
        several = isinstance(value, list)
        tables: list[dict[str, Any]] = [] if not _is_table(value) else value if several else [value]
        for table in tables:
            lines += ["", f"[[{key}]]" if several else f"[{key}]"]
            lines += [f"{name} = {_scalar(item)}" for name, item in table.items() if not _is_table(item)]
            for name, inner in table.items():  # one level is enough for study.toml
                for entry in inner if _is_table(inner) else ():
                    lines += ["", f"[[{key}.{name}]]", *(f"{k} = {_scalar(item)}" for k, item in entry.items())]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def tuples(value: Any) -> Any:
    """Convert TOML arrays to tuples, because the parts of a study are frozen and validated strictly."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
