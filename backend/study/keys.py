"""Check single keys of study.toml and collect their errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.errors import LayershiftError, StudyError
from backend.study.config import STUDY_FILE, parse_study

_VALID: dict[str, Any] = {
    "title": "t",
    "family": "causal",
    "base": {"repo": "b"},
    "dataset": {"repo": "d"},
    "prompt": {"template": "{text}", "label_words": ["a", "b"]},
}
"""A valid study.toml, in which one key at a time is replaced."""


def sentences(checks: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Run all checks and return the messages of those that fail."""
    messages: dict[str, str] = {}
    for key, check in checks.items():
        try:
            check()
        except LayershiftError as error:
            messages[key] = str(error)
    return messages


def try_keys(prompt: dict[str, Any], dataset: dict[str, Any] | None = None) -> None:
    """Check keys of study.toml in an otherwise valid one, None for a key that is left out.

    Raises StudyError, which names the key but no file.
    """
    changes = {"prompt": prompt, "dataset": {"sample": len(prompt.get("label_words") or "ab")} | (dataset or {})}
    raw = {**_VALID, **{key: {**_VALID[key], **change} for key, change in changes.items()}}
    kept = {key: value for key, value in raw["prompt"].items() if value is not None}
    if "messages" in kept:
        del kept["template"]
    raw["prompt"] = kept
    folder = Path("/new")
    try:
        parse_study(raw, folder)
    except StudyError as error:
        raise StudyError(str(error).removeprefix(f"{folder / STUDY_FILE}: ")) from None
