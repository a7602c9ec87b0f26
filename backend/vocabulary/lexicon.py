"""Words by group: positive and negative ones of the VADER lexicon, and the lists that a study brings. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from tokenizers import Tokenizer

from backend.vocabulary import display

Words = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of groups with their words, as a query holds them."""

POSITIVE, NEGATIVE = "positive", "negative"


@cache
def vader() -> dict[str, float]:
    """Words of letters only with their mean valence, -4 (most negative) to 4. Hutto and Gilbert 2014, ICWSM 8."""
    lines = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split("\t")[:2] for line in lines if line.strip()]
    return {word: float(valence) for word, valence in entries if word.isalpha()}


def groups(own: Words = ()) -> Words:
    """`positive` and `negative` of VADER, then a study's own lists; one of the same name takes VADER's place."""
    words = vader()
    found = {
        POSITIVE: tuple(word for word, valence in words.items() if valence > 0),
        NEGATIVE: tuple(word for word, valence in words.items() if valence < 0),
    }
    return tuple((found | dict(own)).items())


def own_words(lists: Mapping[str, tuple[str, ...]] | None) -> Words:
    """The `[lexicon]` of a study."""
    return tuple((lists or {}).items())


def token_groups(tokenizer: Tokenizer, own: Words, rows: int) -> dict[str, tuple[int, ...]]:
    """The ids below `rows` of the words of each group that are one token behind a space, ascending."""
    return {
        name: tuple(sorted({token for token in display.of_words(tokenizer, words).values() if token < rows}))
        for name, words in groups(own)
    }
