"""The grid of layers: every cell, the mark in each row, the sentence."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np

from backend.analyses import cka_grid
from backend.figures import cka_grid as figures
from tests.figures.conftest import Shown

NAN = np.nan
GRID = np.array([[NAN, NAN, NAN, NAN], [NAN, 0.9, 0.4, 0.3], [NAN, 0.4, 0.8, 0.2], [NAN, 0.7, 0.5, 0.6]])


def test_every_cell_and_the_most_similar_layer_of_each_row():
    made = cka_grid.Result(GRID, GRID - 0.1, GRID + 0.1)
    heat, marks = figures.draw(made, "epoch 1", "base").data
    np.testing.assert_allclose(np.array(heat.z, dtype=float), GRID)
    assert list(zip(marks.x, marks.y, strict=True)) == [(1, 1), (2, 2), (1, 3)]
    np.testing.assert_allclose(heat.customdata[1][1], [0.8, 1.0], rtol=1e-6)
    said = figures.in_words(made, "epoch 1", "base")
    assert said.startswith("2 of 3 layers of **epoch 1** are most like the same layer of **base**; ")
    assert said.endswith("furthest off is layer 3, which is most like layer 1.")


def test_a_study_without_text_at_any_layer_says_so():
    nothing = np.full((2, 2), NAN)
    made = cka_grid.Result(nothing, nothing, nothing)
    assert figures.best(made) == []
    assert figures.in_words(made, "a", "b") == "No layer of **a** or **b** holds text."


def test_the_fakes_are_drawn(shown: Shown):
    query = cka_grid.queries(shown.study)[1]
    picture = figures.draw(cka_grid.recipe(query, shown.lab), "epoch 1", "base")
    assert len(picture.data[1].x) == 12, "layer 0 of the fakes holds no text"
