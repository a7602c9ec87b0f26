"""Layer x step: numbers relative to chance, crossings and their bars, words, the table, layers without text."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import trajectory
from backend.figures import trajectory as figures
from backend.figures.style.step_axis import step_axis
from backend.stats.crossings import Crossing
from tests.figures.conftest import Shown

NAMES = ["base", "step 10", "step 40"]
STEPS = (0, 10, 40)


@pytest.fixture
def result(shown: Shown) -> trajectory.Result:
    (query,) = trajectory.queries(shown.study)
    return trajectory.recipe(replace(query, draws=50, permutations=100), shown.lab)


def with_crossings(result: trajectory.Result, first: int, after: int, by: int) -> trajectory.Result:
    """The result with the same crossing everywhere."""

    def same(crossing: Crossing) -> Crossing:
        return Crossing(*(np.full_like(crossing.first, position) for position in (first, after, by)))

    return replace(
        result,
        norm_leaves=same(result.norm_leaves),
        layer_accuracy_leaves=same(result.layer_accuracy_leaves),
        cka_falls=same(result.cka_falls),
        accuracy_leaves=same(result.accuracy_leaves),
    )


def test_the_colours_are_the_length_over_chance(result: trajectory.Result):
    picture = figures.draw(result, step_axis(NAMES, STEPS), "base", 0.9)
    heat = picture.data[0]
    assert len(heat.x) == 4 and len(heat.y) == 13
    assert list(heat.z[0]) == [None] * 3, "layer 0 holds no text"
    strength = result.strength[0]
    np.testing.assert_allclose(heat.z[12], np.log2(np.maximum(strength[12], 1)), atol=1e-4)
    accuracy = f"<br>accuracy of the layer: {100 * result.layer_accuracy.value[12, 2]:.0f} %"
    assert heat.text[12][2] == f"step 40, layer 12: {strength[12, 2]:.3g} × chance{accuracy}"
    assert heat.text[0][0] == "base, layer 0: no text"
    assert heat.colorbar.ticktext[0] == "1 × chance" and heat.colorbar.tickvals[2] == 1
    assert picture.layout.xaxis.title.text == "step" and picture.layout.title.text.startswith("Layer × checkpoint")


def test_crossings_have_bars_that_reach_to_the_edges_where_they_are_open(result: trajectory.Result):
    axis = step_axis(NAMES, STEPS)
    picture = figures.draw(with_crossings(result, 1, 0, 2), axis, "<b>", 0.9)
    ring, triangle, diamond, square = picture.data[1:]
    assert list(square.x) == [10] and list(square.y) == [13]
    assert square.text[0] == "step 10 (after base, by step 40)" and picture.layout.yaxis.ticktext[-1] == "answers"
    assert len(ring.x) == len(triangle.x) == len(diamond.x) == 13 and set(ring.x) == {10}
    assert set(ring.error_x.array) == {30} and set(ring.error_x.arrayminus) == {10}
    assert ring.text[3] == triangle.text[3] == "step 10 (after base, by step 40)"
    assert ring.y[3] > triangle.y[3] == 3 > diamond.y[3] > 2.5
    assert diamond.name == "CKA with &lt;b&gt; below 0.9"
    open_ends = figures.draw(with_crossings(result, 1, -1, 3), axis, "base", 0.9).data[1]
    np.testing.assert_allclose(open_ends.x + open_ends.error_x.array, axis.edges[-1])
    np.testing.assert_allclose(open_ends.x - open_ends.error_x.arrayminus, axis.edges[0])


def test_what_never_crosses_has_no_mark(result: trajectory.Result):
    picture = figures.draw(with_crossings(result, 3, 2, 3), step_axis(NAMES, STEPS), "base", 0.9)
    _, ring, triangle, diamond, square = picture.data
    assert len(ring.x) == len(triangle.x) == len(diamond.x) == len(square.x) == 0
    silent = with_crossings(result, -1, -1, -1)
    assert [len(trace.x) for trace in figures.draw(silent, step_axis(NAMES), "base", 0.9).data[1:]] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("first", "after", "by", "words"),
    [
        (-1, -1, -1, "–"),
        (3, 2, 3, "not yet"),
        (3, 1, 3, "not yet; perhaps after step 10"),
        (3, -1, 3, "not yet; perhaps from the start"),
        (1, 0, 1, "step 10 (after base, by step 10)"),
        (2, -1, 3, "step 40 (perhaps from the start, not certain by step 40)"),
        (0, -1, 0, "base or before"),
        (0, -1, 2, "base or before (certain by step 40)"),
        (0, -1, 3, "base or before (not certain by step 40)"),
    ],
)
def test_words_say_when_and_how_surely(result: trajectory.Result, first: int, after: int, by: int, words: str):
    crossing = with_crossings(result, first, after, by).accuracy_leaves
    assert figures.said(crossing, (), NAMES) == words


def test_the_table_has_a_row_per_layer_and_one_for_the_answers(result: trajectory.Result):
    rows = figures.table(with_crossings(result, 1, 0, 2), NAMES, "base", 0.9)
    assert [row["layer"] for row in rows] == [*map(str, range(13)), "answers"]
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert rows[0]["direction leaves chance"] == "–", "a layer without text"
    certain = "step 10 (after base, by step 40)"
    assert rows[5]["direction leaves chance"] == rows[5]["accuracy leaves chance"] == certain
    assert (rows[-1]["direction leaves chance"], rows[-1]["accuracy leaves chance"]) == ("", certain)
    assert rows[5]["CKA with base falls below 0.9"] and rows[-1]["CKA with base falls below 0.9"] == ""


def test_every_class_has_its_own_picture(result: trajectory.Result):
    for direction in range(len(result.norm.value)):
        heat = figures.draw(result, step_axis(NAMES), "base", 0.9, direction).data[0]
        assert heat.text[12][1] == f"step 10, layer 12: {result.strength[direction, 12, 1]:.3g} × chance" + (
            f"<br>accuracy of the layer: {100 * result.layer_accuracy.value[12, 1]:.0f} %"
        )


def test_a_guide_names_reference_and_level():
    guide = figures.guide("base", 0.8)
    assert "CKA with base is below 0.8" in guide.more
