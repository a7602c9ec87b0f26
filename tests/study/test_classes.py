"""Rows of a head and label values are matched by names, then by numbers, and a doubt is a sentence."""

from __future__ import annotations

import pytest

from backend.errors import CheckpointError
from backend.study.classes import ClassNames, order_rows, order_values, unsure_rows

PAIR = ("negative", "positive")
BY_NUMBER, ALPHABETICAL, OTHER_ORDER = "matched by number", "in alphabetical order", "in another order than the label"


def classes(values: str, words: tuple[str, ...]) -> list[ClassNames]:
    return [ClassNames(value, None, word) for value, word in zip(values.split(), words, strict=True)]


@pytest.mark.parametrize(
    ("values", "words", "head", "rows", "doubt"),
    [
        ("0 1", PAIR, (), (0, 1), None),
        ("1 2", PAIR, (), (0, 1), None),
        ("negative positive", PAIR, (), (0, 1), ALPHABETICAL),
        ("0 1", PAIR, ("negative", "positive"), (0, 1), None),
        ("0 1", PAIR, ("positive", "negative"), (1, 0), OTHER_ORDER),
        ("0 1", PAIR[::-1], ("negative", "positive"), (1, 0), OTHER_ORDER),
        ("1 0", PAIR, ("positive", "negative"), (1, 0), None),
        ("pos neg", PAIR[::-1], ("NEGATIVE", "POSITIVE"), (1, 0), None),
        ("0 1", PAIR, ("bad", "good"), (0, 1), BY_NUMBER),
        ("0 1", PAIR, ("LABEL_1", "LABEL_0"), (1, 0), None),
        ("1 2", PAIR, ("LABEL_1", "LABEL_2"), (0, 1), None),
        ("1 2 3", ("bad", "fair", "good"), ("3 stars", "2 stars", "1 star"), (2, 1, 0), None),
        ("0 1 2", ("bad", "fair", "good"), ("1 star", "2 stars", "3 stars"), (0, 1, 2), BY_NUMBER),
        ("0 1", PAIR, ("1", "0"), (1, 0), None),
    ],
)
def test_the_row_of_each_class(
    values: str, words: tuple[str, ...], head: tuple[str, ...], rows: tuple[int, ...], doubt: str | None
):
    named = classes(values, words)
    assert order_rows(named, head, "here") == rows
    found = unsure_rows(named, head, rows)
    assert found is None if doubt is None else doubt in str(found)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("ne\u0301g", "pos"), ("n\u00e9g", "pos")),
        (("\u0915\u092e", "\u0915\u093e\u092e"), ("\u0915\u093e\u092e", "\u0915\u092e")),
        (("\u2764\ufe0f", "\u2600\ufe0f"), ("\u2600\ufe0f", "\u2764\ufe0f")),
        (("Bad!", "Good!"), ("good", "bad")),
    ],
)
def test_names_are_equal_by_letters_and_their_marks(values: tuple[str, str], words: tuple[str, str]):
    """An accent may be a letter of its own; Hindi vowels are marks, and emoji are neither."""
    found = order_values(values, None, words, False, "here")
    places = [0, 1] if values[0] in (words[0], "ne\u0301g") else [1, 0]
    assert [one.value for one in found] == [values[i] for i in places]


@pytest.mark.parametrize(
    ("values", "words", "head", "says"),
    [
        ("positive negative", PAIR[::-1], (), "share no names with the study's classes"),
        ("bad good", ("bad", "good"), ("POSITIVE", "NEGATIVE"), "share no names with the study's classes"),
        ("0 1 2", ("bad", "fair", "good"), ("3 stars", "2 stars", "1 star"), "hold other numbers than the study's"),
        ("negative positive", PAIR, ("LABEL_1", "LABEL_0"), "hold other numbers than the study's classes"),
    ],
)
def test_rows_that_would_be_a_guess(values: str, words: tuple[str, ...], head: tuple[str, ...], says: str):
    with pytest.raises(CheckpointError, match=says):
        order_rows(classes(values, words), head, "here")
