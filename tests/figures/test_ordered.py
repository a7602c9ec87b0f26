"""Curves with interval and chance, and all checkpoints with a ring where they leave chance."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses.ordered import Result
from backend.figures import ordered as figures
from backend.stats.estimate import Estimate


@pytest.fixture
def results() -> list[Result]:
    values = (np.array([np.nan, 0.1, 0.6, 0.8]), np.array([np.nan, 0.1, 0.0, -0.2]))
    level, ones = np.array([np.nan, 0.3, 0.3, 0.3]), np.ones(4)
    return [Result(Estimate(value, value - 0.1, value + 0.1, level), ones, ones, ones) for value in values]


def test_curves_show_interval_and_chance(results: list[Result]):
    figure = figures.curves(results, ["base", "epoch <1>"], [0, 1], 3)
    lines = {trace.name: trace for trace in figure.data if trace.name and trace.mode}
    assert {"base", "chance, base"} <= set(lines)
    np.testing.assert_allclose(lines["base"].y[1:], [0.1, 0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(lines["chance, base"].y[1:], 0.3, rtol=1e-6)
    np.testing.assert_allclose(lines["base"].customdata[3], [0.7, 0.9], rtol=1e-6)
    assert figure.layout.yaxis.range[0] < -0.3
    assert not any("<1>" in (trace.name or "") for trace in figure.data)


def test_the_heat_map_marks_where_chance_is_left(results: list[Result]):
    heat, ring, targets = figures.heatmap(results, ["base", "epoch 1"]).data
    np.testing.assert_allclose(np.array(heat.z, dtype=float)[0, 1:], [0.1, 0.6, 0.8])
    assert (list(ring.x), list(ring.y), [tuple(one) for one in ring.customdata]) == ([2], ["base"], [(0, 2)])
    assert len(targets.x) > 0


def test_the_best_layer_and_where_chance_is_left_in_words(results: list[Result]):
    said = figures.in_words(results[0], "one")
    assert "**one** the order of the label exceeds chance from layer 2 on; the best layer is 3" in said
    assert "0.80 (0.70 to 0.90)" in said
    assert "stays above chance at no layer" in figures.in_words(results[1], "two")
