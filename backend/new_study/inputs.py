"""Read what people type for a new study: lists of words and columns; suggest words and a template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.study.pairs import Input
from backend.study.template import columns

TEMPLATE = "Review: {text} Sentiment:"
USUAL_TOKENS = 256


def split_words(text: str) -> tuple[str, ...] | None:
    """Return the label words of a comma-separated list; None if it is empty."""
    return tuple(word.strip() for word in text.split(",")) if text.strip() else None


def text_columns(entries: Sequence[str]) -> Input:
    """Return the column of the texts, or those of a pair, from lists that are comma-separated or given one by one."""
    names = [name.strip() for entry in entries for name in entry.split(",") if name.strip()]
    return names[0] if len(names) == 1 else tuple(names)


def usual_template(text: Input, plain: bool) -> str:
    """Return the template for one column of texts or for a pair; `plain` is without words, where no answer is read."""
    names = columns(text)
    if len(names) == 1:
        return "{text}" if plain else TEMPLATE
    places = [f"{{{name}}}" for name in names]
    return " ".join(places) if plain else "\n".join([*places, "Answer:"])


def suggest_words(labels: list[Any]) -> list[str]:
    """Suggest label words: negative and positive for two numbers, else the values themselves."""
    if len(labels) == 2 and all(str(value) in ("0", "1", "False", "True") for value in labels):
        return ["negative", "positive"]
    return [str(value) for value in labels]
