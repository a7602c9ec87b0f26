"""The neutral sentences are many, unlike each other, and say nothing about liking or disliking."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

from backend.vocabulary import lexicon, neutral


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_there_are_enough_and_they_are_sentences():
    found = neutral.sentences()
    assert len(found) >= 120
    assert all(6 <= len(words_of(one)) <= 25 and one == one.strip() and one.endswith(".") for one in found)


def test_none_is_a_variant_of_another():
    vocabularies = [set(words_of(one)) for one in neutral.sentences()]
    alike = max(len(a & b) / len(a | b) for a, b in combinations(vocabularies, 2))
    assert alike < 0.35
    openings = Counter(" ".join(words_of(one)[:2]) for one in neutral.sentences())
    assert max(openings.values()) <= 2


def test_no_word_of_sentiment():
    valence = lexicon.vader()
    in_sentences = {word for one in neutral.sentences() for word in words_of(one) if valence.get(word)}
    assert in_sentences == set()
    assert [word for word in neutral.WORDS if valence.get(word.lower())] == []
    assert len(set(neutral.WORDS)) == len(neutral.WORDS) >= 30


def test_the_digest_covers_sentences_and_words(monkeypatch):
    before = neutral.digest()
    monkeypatch.setattr(neutral, "WORDS", (*neutral.WORDS, "cupboard"))
    neutral.digest.cache_clear()
    assert neutral.digest() != before
    neutral.digest.cache_clear()
