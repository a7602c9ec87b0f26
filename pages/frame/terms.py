"""Underline the field's terms in a text; each explains itself when pointed at or focused."""

from __future__ import annotations

from backend.figures.style import glossary
from backend.vocabulary.markdown import plain

STYLE = """
[data-testid="stCaptionContainer"]:has(.term) { opacity: 1; } /* else the meaning is as pale as the text */
[data-testid="stCaptionContainer"]:has(.term) > p { color: color-mix(in srgb, currentColor 66%, transparent); }
.term { position: relative; border-bottom: 1px dotted currentColor; cursor: help; }
.term > span {
    visibility: hidden; opacity: 0; position: fixed; left: 0; bottom: 1.5em; z-index: 99; width: max-content;
    max-width: 300px; padding: 8px 10px; border: 1px solid var(--st-border-color, #ccc); border-radius: 6px;
    background: var(--st-background-color, Canvas); color: var(--st-text-color, CanvasText); font-size: 13px;
    line-height: 1.4; box-shadow: 0 3px 12px rgb(0 0 0 / 18%); white-space: normal; transition: opacity 0.1s 0.15s;
}
.term:is(:hover, :focus, :focus-within) > span { visibility: visible; opacity: 1; position: absolute; }
"""


def html(text: str) -> str:
    """Return plain text as Markdown with its terms as HTML, for `unsafe_allow_html`; signs of the text are escaped."""
    return "".join(plain(piece) if term is None else _term(piece, term) for piece, term in glossary.split(text))


def _term(word: str, term: glossary.Term) -> str:
    more = f'<a href="docs?page={term.page}" target="_blank">More</a>'
    return (
        f'<span class="term" tabindex="0">{plain(word)}<span role="tooltip">{plain(term.meaning)} {more}</span></span>'
    )
