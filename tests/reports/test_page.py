"""Parts of the report's page: tables, bold words, markup of users, and nonces."""

from __future__ import annotations

import re
from html import escape

import pytest

from backend.reports.page import Section, page, sentences, table
from backend.vocabulary.markdown import plain


def test_tables_put_intervals_in_brackets_and_leave_undefined_cells_empty():
    row = {
        "layer": 3,
        "norm": 1.23456,
        "norm_low": 1.0,
        "norm_high": 2.0,
        "gap": None,
        "gap_low": None,
        "gap_high": None,
    }
    drawn = table([row])
    assert re.findall(r"<th [^>]*>(.*?)</th>", drawn) == ["layer", "norm", "gap"]
    assert re.findall(r"<td>(.*?)</td>", drawn) == ["3", "1.235 (1 to 2)", ""]
    assert table([]) == ""


def test_stars_make_bold_and_markup_is_escaped():
    assert sentences(["**a** <b>"]) == '<ul class=""><li><strong>a</strong> &lt;b&gt;</li></ul>'


@pytest.mark.parametrize("typed", ["**a** <b> _c_ :cat: $x$ [d](e) `f`", "\\*&lt;# 1. - \\\\", "1. a", "- **"])
def test_words_of_a_user_stand_as_they_are(typed: str):
    assert sentences([plain(typed)]) == f'<ul class=""><li>{escape(typed)}</li></ul>'
    assert sentences([f"**{plain(typed)}** b"]) == f'<ul class=""><li><strong>{escape(typed)}</strong> b</li></ul>'


def test_two_pages_have_different_nonces():
    pages = [page("t", "s", [Section("a", "A", [])]) for _ in range(2)]
    assert pages[0] != pages[1]
