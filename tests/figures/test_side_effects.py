"""Gain against price, the share that few blocks keep, and the answer in words."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import side_effects
from backend.analyses.side_effects import Result
from backend.figures import side_effects as figures
from backend.stats.estimate import undefined
from tests.figures.conftest import Shown


@pytest.fixture(scope="module")
def results(shown: Shown) -> list[Result]:
    return [side_effects.recipe(replace(one, draws=20), shown.lab) for one in side_effects.queries(shown.study)]


def test_points_are_the_checkpoints(results: list[Result]):
    points = figures.checkpoints(results, ["<b>", "two"], [1, 2], 3).data[0]
    np.testing.assert_allclose(points.y, [one.gain.value[1] for one in results], rtol=1e-5)
    np.testing.assert_allclose(points.x, [one.kl.value[1] for one in results], rtol=1e-5)
    assert list(points.text) == ["&lt;b&gt;", "two"]


def test_points_are_the_blocks_and_rings_the_chosen(results: list[Result]):
    cloud, whole, ring = figures.blocks(results[1], "two", "#123456", (3, 11)).data
    np.testing.assert_allclose(cloud.y, results[1].gain.value[2:], rtol=1e-5)
    assert len(whole.x) == 1
    np.testing.assert_allclose(ring.x, results[1].kl.value[2:][[3, 11]], rtol=1e-5)


def test_the_curve_of_sets(results: list[Result]):
    picture = figures.sets(results[1], "two", 0.9)
    np.testing.assert_allclose(picture.data[-1].y, 100 * results[1].kept.value, rtol=1e-5)
    assert picture.layout.shapes[0].y0 == 90


def test_the_answer_in_words(results: list[Result]):
    assert "% of the gain" in figures.kept_in_words(results[1], 0.5)
    assert "No set of blocks" in figures.kept_in_words(results[1], 2.0)
    only_price = replace(results[0], gain=undefined(2))
    assert figures.in_words(only_price, "one").startswith("**one** moved by ")


def test_words_do_not_lie_on_each_other():
    x, y = np.array([0.0, 0.001, 0.05, np.nan]), np.array([0.1, 0.2, 0.1, 0.3])
    assert figures._apart(x, y, (0.08, 4.0)) == [False, True, True, False]
    assert figures._apart(x, y, (0.001, 0.1)) == [True, True, True, False]
