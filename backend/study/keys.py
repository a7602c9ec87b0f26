"""Single keys of study.toml, tried one at a time, and the sentences of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.errors import LayershiftError, StudyError
from backend.study.config import STUDY_FILE, parse_study

_SOUND: dict[str, Any] = {
    "title": "t",
    "family": "causal",
    "base": {"repo": "b"},
    "dataset": {"repo": "d"},
    "prompt": {"template": "{text}", "label_words": ["a", "b"]},
}
"""A study.toml with nothing wrong in it, in which one key at a time is tried."""


def sentences(checks: dict[str, Callable[[], object]]) -> dict[str, str]:
    """The error of each check that has one."""
    said: dict[str, str] = {}
    for key, check in checks.items():
        try:
            check()
        except LayershiftError as error:
            said[key] = str(error)
    return said


def try_keys(prompt: dict[str, Any], dataset: dict[str, Any] | None = None) -> None:
    """Try keys of study.toml in an otherwise sound one; StudyError in words that name the key and no file."""
    changes = {"prompt": prompt, "dataset": {"sample": len(prompt.get("label_words", "ab"))} | (dataset or {})}
    raw = {**_SOUND, **{key: {**_SOUND[key], **change} for key, change in changes.items()}}
    folder = Path("/new")
    try:
        parse_study(raw, folder)
    except StudyError as error:
        raise StudyError(str(error).removeprefix(f"{folder / STUDY_FILE}: ")) from None
