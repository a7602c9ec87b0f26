"""Lay out the pieces of a text in lines, escaped for plotly's HTML."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.figures.style import drawing, theme
from backend.vocabulary.display import SPACE, visible

UNSEEN = "·"
"""Stands for a piece of which nothing is seen, such as the second byte of a character."""


@dataclass(frozen=True)
class Cell:
    """Where piece `index` stands: from `left` to `right`, in characters from the start of its line."""

    index: int
    left: int
    right: int


def shown(piece: str, most: int = 48) -> str:
    """A piece as a reader sees it: invisible signs made visible, at most `most` characters, escaped."""
    text = visible(piece.strip(" ")).replace(SPACE, " ") if piece.strip(" ") else UNSEEN
    if len(text) > most:
        text = text[: most - 1] + "…"
    return theme.literal(text)


def lay_out(pieces: Sequence[str], line: int) -> list[list[Cell]]:
    """Pieces in lines of at most `line` characters, broken between words; a word that is longer is broken inside."""
    lines: list[list[Cell]] = [[]]
    at = 0
    for word in _words(pieces):
        sizes = [min(line, _width(pieces[i])) for i in word]
        if at and at + sum(sizes) > line:
            lines.append([])
            at = 0
        for i, size in zip(word, sizes, strict=True):
            if at and at + size > line:
                lines.append([])
                at = 0
            lines[-1].append(Cell(i, at, at + size))
            at += size
        if "\n" in pieces[word[-1]]:
            at = line
    return lines


def _words(pieces: Sequence[str]) -> list[list[int]]:
    """Pieces that belong together: a new word starts with white space, or behind some."""
    words: list[list[int]] = []
    for i, piece in enumerate(pieces):
        if not words or piece[:1].isspace() or pieces[i - 1][-1:].isspace():
            words.append([])
        words[-1].append(i)
    return words


def _width(piece: str) -> int:
    """Columns that a piece takes, with one between it and the next: signs of East Asian scripts and emoji take two."""
    text = visible(piece.strip(" ")).replace(SPACE, " ") if piece.strip(" ") else UNSEEN
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text[:48])
    return min(len(text), 48) + wide + (1 if piece[:1].isspace() else 0) + (1 if len(text) + wide < 2 else 0)


def labels(lines: Sequence[Sequence[Cell]], pieces: Sequence[str], heights: Sequence[float]) -> dict[str, Any]:
    """All pieces as one trace of text, each at the left of its cell; `heights` are the lines' places."""
    cells = [(cell, height) for line, height in zip(lines, heights, strict=True) for cell in line]
    return drawing.words(
        [cell.left for cell, _ in cells],
        [height for _, height in cells],
        [shown(pieces[cell.index]) for cell, _ in cells],
        {"size": 12},
        textposition="middle right",
        cliponaxis=False,
    )


def edges(line: Sequence[Cell]) -> list[int]:
    """The edges between the cells of a line, from its left to its right."""
    return [line[0].left, *(cell.right for cell in line)]


def plain_axes(line: int, height: int, ticks: Sequence[tuple[float, str]] = ()) -> dict[str, Any]:
    """Axes in characters and pixels from the upper left, without grid; `ticks` name heights."""
    bare = {"showgrid": False, "zeroline": False, "fixedrange": True}
    return {
        "xaxis": bare | {"range": [0, line], "showticklabels": False, "ticks": ""},
        "yaxis": bare
        | {
            "range": [height, 0],
            "tickmode": "array",
            "tickvals": [place for place, _ in ticks],
            "ticktext": [shown(name) for _, name in ticks],
            "tickfont": {"size": 10},
            "showticklabels": bool(ticks),
            "automargin": True,
        },
    }
