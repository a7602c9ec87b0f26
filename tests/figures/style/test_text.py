"""Texts laid out in lines: nothing is lost, nothing is markup, everything is seen."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from backend.figures.style import text


def indices(lines: list[list[text.Cell]]) -> list[list[int]]:
    return [[cell.index for cell in line] for line in lines]


def test_lines_break_between_words():
    pieces = ["The", " cam", "era", " drags", "."]
    assert indices(text.lay_out(pieces, 12)) == [[0, 1, 2], [3, 4]]
    assert indices(text.lay_out(pieces, 8)) == [[0], [1, 2], [3, 4]]
    (first, second) = text.lay_out(pieces, 12)
    assert [(cell.left, cell.right) for cell in first] == [(0, 3), (3, 7), (7, 10)]
    assert text.edges(second) == [0, 6, 8], "a single sign takes two columns"


def test_a_word_longer_than_a_line_is_broken_inside():
    assert indices(text.lay_out(["aaaa", "bbbb", "cccc"], 9)) == [[0, 1], [2]]
    (line,) = text.lay_out(["a" * 100], 9)
    assert line[0].right == 9


def test_a_line_ends_where_the_text_has_one():
    assert indices(text.lay_out(["a", "\n", "b"], 40)) == [[0, 1], [2]]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=60), st.integers(8, 80))
def test_every_piece_stands_once_in_order_and_inside_its_line(pieces: list[str], width: int):
    lines = text.lay_out(pieces, width)
    assert [i for line in indices(lines) for i in line] == list(range(len(pieces)))
    for line in lines:
        assert all(cell.left < cell.right <= width for cell in line)
        assert all(a.right == b.left for a, b in itertools.pairwise(line))


@given(st.text(max_size=80))
def test_no_piece_brings_markup_or_invisible_signs(piece: str):
    said = text.shown(piece)
    assert "<" not in said and ">" not in said
    assert said and said.isprintable()


def test_what_is_shown_by_hand():
    assert text.shown(" <b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert text.shown("a\x00b") == "a␀b"
    assert text.shown("") == text.shown("  ") == text.UNSEEN
    assert text.shown("x" * 100, 10) == "xxxxxxxxx…"
    assert text.shown("two words") == "two words"
    assert text.shown("שלום") == "שלום"
    assert text.shown("a\u202eb") == "a&lt;U+202E&gt;b"
