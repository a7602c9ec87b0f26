"""What the pictures of tokens share: the colours of word groups, and what is read when one points at a token."""

from __future__ import annotations

from collections.abc import Sequence

from backend.figures import _theme
from backend.lexicon import NEGATIVE, POSITIVE

OTHERS = "other tokens"


def group_colour(name: str, position: int) -> str:
    """Positive words are blue, negative ones orange, own lists have colours of their own."""
    if name in (POSITIVE, NEGATIVE):
        return _theme.class_colour(int(name == POSITIVE), 2)
    return _theme.MANY[(position + 3) % len(_theme.MANY)]


def group_symbol(name: str, position: int) -> str:
    """A marker shape for each, those of the classes for positive and negative words."""
    if name in (POSITIVE, NEGATIVE):
        return _theme.SYMBOLS[int(name == POSITIVE)]
    return _theme.SYMBOLS[(position + 2) % len(_theme.SYMBOLS)]


def quoted(names: Sequence[str]) -> list[str]:
    """Tokens for plotly, which takes signs such as < for its HTML, but writes `&quot;` as it stands."""
    return _theme.literals(names)
