"""The picture over layers and checkpoints, the curve with its floor, and the tokens with their chance level."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import activation_differences
from backend.analyses.activation_differences import Result
from backend.figures import activation_differences as figures
from backend.stats.estimate import Estimate
from tests.figures.conftest import Shown


@pytest.fixture(scope="module")
def results(shown: Shown) -> list[Result]:
    asked = [one for one in activation_differences.queries(shown.study) if one.texts.name == "neutral"]
    return [activation_differences.recipe(replace(one, random=50, halvings=20), shown.lab) for one in asked]


def test_the_overview_holds_the_numbers_and_crosses_what_is_within_the_floor(results: list[Result]):
    picture = figures.overview(results, ["<b>", "two"], 5, "base", 1)
    heat, cells, crosses, *rings, ring, key = picture.data
    assert list(cells.customdata[-1]) == [1, results[1].relative.value.shape[1] - 1]
    assert list(ring.customdata[0]) == [1, ring.x[0]] and len(crosses.customdata) == len(crosses.x)
    assert key.name == "largest of the chosen checkpoint"
    assert [one.opacity for one in (*rings, ring)] == [0, 1]
    np.testing.assert_allclose(
        np.array(heat.z, float), [np.round(100 * one.relative.value[5], 4) for one in results], atol=1e-4
    )
    assert list(heat.y) == ["&lt;b&gt;", "two"]
    assert 0 in list(crosses.x)
    assert ring.x[0] == int(np.argmax(results[1].relative.value[5]))
    assert "all positions" in picture.layout.title.text


def test_the_curve_shows_interval_and_floor(results: list[Result]):
    picture = figures.curves(results[0], "two", 0, theme_colour := "#123456")
    line = next(one for one in picture.data if one.name == "position 1")
    assert line.line.color == theme_colour
    np.testing.assert_allclose(line.y, 100 * results[0].relative.value[0], rtol=1e-5)
    assert picture.data[-1].name == "floor"


def test_tokens_beyond_chance_are_blue(results: list[Result]):
    picture = figures.tokens(results[1], "two", 5, 4)
    assert len(picture.data[0].x) == 20 and picture.layout.shapes[0].x0 == pytest.approx(results[1].random_level)
    assert len(set(picture.data[0].y)) == 20
    assert "norm and unembedding are those of two" in figures.tokens_guide("two").more


def test_the_answer_in_words(results: list[Result]):
    said = figures.in_words(results[1], "two", "neutral", 5)
    assert said.startswith("On neutral sentences, all positions, **two** moved most at layer 12")
    assert "% of the residual's length" in said
    nothing = replace(results[0], relative=Estimate(*(np.zeros_like(end) for end in results[0].relative.ends)))
    assert "at no layer" in figures.in_words(nothing, "one", "sample", 0)
    none = np.empty((*results[0].norm.shape, 0))
    unread = replace(results[0], promoted=none, by_chance=none)
    assert figures.tokens(unread, "one", 0, 0) is None
