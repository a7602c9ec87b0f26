"""What the pictures of tokens share: the colours of word groups, and what is read when one points at a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.figures.style import drawing, theme
from backend.vocabulary.display import SPACE
from backend.vocabulary.lexicon import NEGATIVE, POSITIVE

OTHERS = "other tokens"
FOUND = "#dc3b78"
"""The colour of tokens that a search finds."""


def group_colour(name: str, position: int) -> str:
    """Positive words are blue, negative ones orange, own lists have colours of their own."""
    if name in (POSITIVE, NEGATIVE):
        return theme.class_colour(int(name == POSITIVE), 2)
    return theme.MANY[(position + 3) % len(theme.MANY)]


def group_symbol(name: str, position: int) -> str:
    """A marker shape for each, those of the classes for positive and negative words."""
    if name in (POSITIVE, NEGATIVE):
        return theme.SYMBOLS[int(name == POSITIVE)]
    return theme.SYMBOLS[(position + 2) % len(theme.SYMBOLS)]


def found(x: Any, y: Any, **more: Any) -> dict[str, Any]:
    """Return rings around the tokens that a search finds."""
    return drawing.ring(x, y, 14, colour=FOUND, name="found", **more)


def distinct(names: Sequence[str]) -> list[str]:
    """Tokens for the rows of a bar chart, each with a name of its own: plotly joins bars of the same name."""
    return [name + " " + "\u200b" * i for i, name in enumerate(theme.literals(names))]


def spoken(names: Sequence[str]) -> str:
    """Tokens in a sentence, in quotes, without the space before a word."""
    return ", ".join(f"“{name.removeprefix(SPACE) or name}”" for name in names)


def quoted(names: Sequence[str]) -> list[str]:
    """Tokens for plotly, which takes signs such as < for its HTML, but writes `&quot;` as it stands."""
    return theme.literals(names)
