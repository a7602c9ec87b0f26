"""The grid of layers: every cell, the mark in each row, the sentence."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np

from backend.analyses import cka_grid
from backend.figures import cka_grid as figures
from backend.stats.estimate import Estimate
from tests.figures.conftest import Shown

NAN = np.nan
GRID = np.array([[NAN, NAN, NAN, NAN], [NAN, 0.9, 0.4, 0.3], [NAN, 0.4, 0.8, 0.2], [NAN, 0.7, 0.5, 0.6]])


def test_every_cell_and_a_ring_where_another_layer_is_clearly_more_alike():
    made = cka_grid.Result(Estimate(GRID, GRID - 0.04, GRID + 0.04))
    heat, marks = figures.draw(made, "epoch 1", "base").data
    np.testing.assert_allclose(np.array(heat.z, dtype=float), GRID)
    assert list(zip(marks.x, marks.y, strict=True)) == [(1, 3)]
    np.testing.assert_allclose(heat.customdata[1][1], [0.86, 0.94], rtol=1e-6)
    said = figures.in_words(made, "epoch 1", "base")
    assert said.startswith("1 of 3 layers of **epoch 1** are clearly more like another layer of **base** than like the")
    assert said.endswith("furthest off is layer 3, which is most like layer 1.")


def test_intervals_that_meet_say_nothing():
    made = cka_grid.Result(Estimate(GRID, GRID - 0.1, GRID + 0.1))
    assert figures.elsewhere(made) == []
    assert figures.in_words(made, "epoch 1", "base").startswith("No layer of **epoch 1** is clearly more like another")


def test_a_study_without_text_at_any_layer_says_so():
    nothing = np.full((2, 2), NAN)
    made = cka_grid.Result(Estimate(nothing, nothing, nothing))
    assert figures.in_words(made, "a", "b") == "No layer of **a** or **b** holds text."


def test_the_fakes_are_drawn(shown: Shown):
    query = cka_grid.queries(shown.study)[1]
    picture = figures.draw(cka_grid.recipe(query, shown.lab), "epoch 1", "base")
    assert picture.data[0].z[0][0] is None, "layer 0 of the fakes holds no text"
    assert picture.data[0].z[5][5] > 0
