"""Word groups: positive and negative words of the VADER lexicon, and the lists of a study. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from tokenizers import Tokenizer

from backend.vocabulary import display

Words = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of groups with their words, in the form used in queries."""

POSITIVE, NEGATIVE = "positive", "negative"


@cache
def vader() -> dict[str, float]:
    """Return words of letters only and their mean valence, -4 (negative) to 4. Hutto and Gilbert 2014, ICWSM 8."""
    lines = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split("\t")[:2] for line in lines if line.strip()]
    return {word: float(valence) for word, valence in entries if word.isalpha()}


def groups(own: Words = ()) -> Words:
    """Return `positive` and `negative` of VADER, then the lists of a study, which replace those of the same name."""
    words = vader()
    defaults = {
        POSITIVE: tuple(word for word, valence in words.items() if valence > 0),
        NEGATIVE: tuple(word for word, valence in words.items() if valence < 0),
    }
    return tuple((defaults | dict(own)).items())


def own_words(lists: Mapping[str, tuple[str, ...]] | None) -> Words:
    """Return the `[lexicon]` of a study as word groups."""
    return tuple((lists or {}).items())


def token_groups(tokenizer: Tokenizer, own: Words, rows: int) -> dict[str, tuple[int, ...]]:
    """Return, per group, the sorted ids below `rows` of words that are a single token after a space."""
    return {
        name: tuple(sorted({token for token in display.of_words(tokenizer, words).values() if token < rows}))
        for name, words in groups(own)
    }
