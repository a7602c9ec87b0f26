"""The palette, and texts that stand in plotly's HTML."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.figures.style import drawing, theme
from tests.contrast import ROOT, SETTINGS, contrast, mixed

INKS = [SETTINGS["theme"][mode]["textColor"] for mode in ("light", "dark")]
GROUNDS = [SETTINGS["theme"][mode]["backgroundColor"] for mode in ("light", "dark")]


def test_two_classes_are_orange_and_blue_and_the_direction_green():
    assert theme.class_colour(0, 2) == theme.NEGATIVE
    assert theme.class_colour(1, 2) == theme.POSITIVE
    assert theme.direction_colour(0, 1) == theme.DIRECTION


def test_colours_and_shapes_of_eight_classes_differ():
    assert len({theme.class_colour(c, 8) for c in range(8)}) == 8
    assert len(set(theme.SYMBOLS)) == 8


def as_hex(colour: str) -> str:
    """`rgb(1,2,3)` as `#010203`."""
    return colour if colour.startswith("#") else "#" + "".join(f"{int(part):02x}" for part in colour[4:-1].split(","))


@pytest.mark.parametrize("ground", GROUNDS)
def test_points_lines_and_marks_stand_out_from_the_page(ground: str):
    """WCAG 2.2, 1.4.11: 3 to 1 for graphics, points as see-through as they are drawn."""
    lines = [
        theme.WORSE,
        theme.BETTER,
        theme.OPPOSED,
        theme.DIRECTION,
        theme.RING,
        theme.QUIET,
        *(theme.checkpoint_colour(i, 6) for i in range(6)),
    ]
    assert [colour for colour in lines if contrast(as_hex(colour), ground) < 3] == []
    points = [theme.NEGATIVE, theme.POSITIVE, *theme.MANY]
    assert [colour for colour in points if contrast(mixed(colour, ground, theme.POINTS), ground) < 3] == []


def test_no_figure_has_a_pale_colour_of_its_own():
    files = [file for file in sorted((ROOT / "backend/figures").glob("*.py")) if file.name != "_theme.py"]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines() if "textfont" not in line]
    own = {colour for line in lines for colour in re.findall(r"#[0-9a-f]{6}\b", line)}
    assert [colour for colour in sorted(own) for ground in GROUNDS if contrast(colour, ground) < 3] == []


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_checkpoint_colours_differ(count: int):
    assert len({theme.checkpoint_colour(i, count) for i in range(count)}) == count


@pytest.mark.parametrize("scale", [theme.SEQUENTIAL, theme.DIVERGING, theme.QUALITY, theme.COSINE, theme.ENDS])
def test_numbers_read_on_every_cell_in_both_themes(scale: theme.Scale):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; on see-through cells what one ink can be on both pages, 3.6."""
    for ground, own in zip(GROUNDS, INKS, strict=True):
        for share in np.linspace(0, 1, 101):
            red, green, blue, opacity = theme.mixed(scale, share)
            cell = mixed("#" + "".join(f"{round(one):02x}" for one in (red, green, blue)), ground, opacity)
            assert contrast(theme.ink_in(scale, share) or own, cell) >= 3.6, (share, ground)


def test_the_pages_are_those_of_the_settings():
    assert tuple(zip(GROUNDS, INKS, strict=True)) == theme.PAGES


def test_a_curve_without_values_is_not_in_the_legend():
    empty, there = np.array([np.nan, np.nan]), np.array([np.nan, 1.0])
    drawn = [{"type": "scatter", "x": [0, 1], "y": y} for y in (empty, there)]
    figure: Any = theme.figure([*drawn, drawing.key("chance", "dot")], "", 300)
    assert [trace.showlegend for trace in figure.data] == [False, None, True]


def test_a_pair_of_colours_has_one_meaning():
    ends = [tuple(scale[i][1] for i in (0, -1)) for scale in (theme.DIVERGING, theme.QUALITY, theme.COSINE)]
    assert len({colour for pair in ends for colour in pair}) == 6


def test_a_veil_keeps_the_colour():
    assert theme.veil("#ff8000", 0.2) == "rgba(255,128,0,0.2)"
    assert theme.veil("rgb(1,2,3)", 0.5) == "rgba(1,2,3,0.5)"


def test_markup_in_a_review_is_text():
    assert theme.shorten("<b>bold</b> & <br> so") == "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;br&gt; so"


def test_a_long_review_is_cut_and_broken_once():
    short = theme.shorten("word " * 100)
    assert short.endswith("…")
    assert short.count("<br>") == 1
    assert len(short.replace("<br>", " ")) <= theme.HOVER_LENGTH


@given(st.text(max_size=300))
def test_no_review_brings_tags_of_its_own(text: str):
    assert "<" not in theme.shorten(text).replace("<br>", "")


def test_undefined_cells_are_empty():
    assert theme.cells(np.array([[np.nan, 0.12345678]])) == [[None, 0.1235]]


def test_a_band_leaves_undefined_points_out():
    low, high = np.array([0.0, np.nan, 1.0]), np.array([2.0, np.nan, 3.0])
    (band,) = theme.band(np.arange(3), low, high, "#000000")
    assert band["x"].tolist() == [0, 2, 2, 0]
    assert band["y"].tolist() == [2.0, 3.0, 1.0, 0.0]
    assert theme.band(np.arange(1), np.array([np.nan]), np.array([np.nan]), "#000000") == []
