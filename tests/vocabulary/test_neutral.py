"""The neutral sentences are many, diverse, and without sentiment."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

from backend.vocabulary import lexicon, neutral


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_there_are_enough_and_they_are_sentences():
    sentences = neutral.sentences()
    assert len(sentences) >= 120
    assert all(
        6 <= len(words_of(sentence)) <= 25 and sentence == sentence.strip() and sentence.endswith(".")
        for sentence in sentences
    )


def test_none_is_a_variant_of_another():
    vocabularies = [set(words_of(sentence)) for sentence in neutral.sentences()]
    alike = max(len(a & b) / len(a | b) for a, b in combinations(vocabularies, 2))
    assert alike < 0.35
    openings = Counter(" ".join(words_of(sentence)[:2]) for sentence in neutral.sentences())
    assert max(openings.values()) <= 2


def test_no_word_of_sentiment():
    valence = lexicon.vader()
    in_sentences = {word for sentence in neutral.sentences() for word in words_of(sentence) if valence.get(word)}
    assert in_sentences == set()
    assert [word for word in neutral.WORDS if valence.get(word.lower())] == []
    assert len(set(neutral.WORDS)) == len(neutral.WORDS) >= 30


def test_the_digest_covers_sentences_and_words(monkeypatch):
    before = neutral.digest()
    monkeypatch.setattr(neutral, "WORDS", (*neutral.WORDS, "cupboard"))
    neutral.digest.cache_clear()
    assert neutral.digest() != before
    neutral.digest.cache_clear()
