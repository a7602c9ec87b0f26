"""Make what was read from TOML immutable."""

from __future__ import annotations

from typing import Any


def tuples(value: Any) -> Any:
    """Convert TOML arrays to tuples, because the parts of a study are frozen and validated strictly."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
