"""Tokens in pictures: plotly takes some of HTML, and no more."""

from backend.figures.style.tokens import quoted


def test_tokens_are_drawn_as_they_are_and_never_as_html():
    assert quoted(["<b>", "&amp;", "\"'"]) == ["&lt;b&gt;", "&amp;amp;", "\"'"]
