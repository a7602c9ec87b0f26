"""The pictures of turnover: lines against the floor, cells less the floor, sentences."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses.feature_turnover import Result
from backend.figures import feature_turnover as figures
from backend.figures.style import theme

KEPT = np.array([[0.6, 0.3], [0.5, 0.6]])
FLOOR = np.array([0.6, 0.5])
RESULT = Result(KEPT, 1 - KEPT, KEPT, FLOOR, 1 - FLOOR, FLOOR)
NAMES = ["epoch 1", "epoch 2"]


def test_lines_are_percent_and_the_floor_is_dashed():
    drawn = figures.curves(RESULT, (2, 4), NAMES, [1, 2], 3, "kept")
    assert [one.name for one in drawn.data] == ["another seed on the reference", *NAMES]
    assert drawn.data[0].line.dash == "dash"
    assert drawn.data[1].y.tolist() == pytest.approx([60, 30])
    cosine = figures.curves(RESULT, (2, 4), NAMES, [1, 2], 3, "cosine")
    assert cosine.data[1].y.tolist() == pytest.approx([0.6, 0.3])


@pytest.mark.parametrize(("measure", "sign"), [("kept", 1), ("new", -1)])
def test_cells_are_less_the_floor_and_more_turnover_is_red(measure: str, sign: int):
    drawn = figures.heatmap(RESULT, (2, 4), NAMES, measure)  # type: ignore[arg-type]
    assert np.array(drawn.data[0].z, dtype=float) == pytest.approx(sign * 100 * (KEPT - FLOOR))
    low, high = (colour for _, colour in (drawn.data[0].colorscale[0], drawn.data[0].colorscale[-1]))
    assert (low == theme.WORSE) == (sign > 0) and (high == theme.WORSE) == (sign < 0)


def test_undefined_cells_are_empty():
    nothing = np.full((2, 2), np.nan)
    undefined = Result(nothing, nothing, nothing, FLOOR, FLOOR, FLOOR)
    drawn = figures.heatmap(undefined, (2, 4), NAMES, "kept")
    assert [list(row) for row in drawn.data[0].z] == [[None, None], [None, None]]
    assert "often enough" in figures.in_words(undefined, (2, 4), NAMES)[0]


def test_sentences_name_the_layer():
    first, second = figures.in_words(RESULT, (2, 4), NAMES)
    assert "layer 4" in first and "70 %" in first and "50 %" in first
    assert "layer 2" in second
    none = Result(KEPT, KEPT, KEPT, FLOOR / 10, FLOOR, FLOOR)
    assert "hardly any" in figures.in_words(none, (2, 4), NAMES)[0]
    same = Result(FLOOR[None], FLOOR[None], FLOOR[None], FLOOR, FLOOR, FLOOR)
    assert "at no layer" in figures.in_words(same, (2, 4), ["epoch 1"])[0]
