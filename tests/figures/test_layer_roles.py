"""Kinds of layers: the ground, the curves, the rule and the verdict."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.figures import layer_roles as figures
from tests.stats.roles import read

NAN = float("nan")


def reading(*kinds: int):
    made = read([NAN, 0.95, 0.5, 0.2], [NAN, 0.99, 0.8, 0.3], [0.5, 0.6, 0.6, 0.95], [0.5, 0.6, 0.6, 0.6])
    return replace(made, kind=np.array(kinds)) if kinds else made


def test_the_ground_and_the_numbers():
    picture = figures.draw(reading(), "epoch 1", "base")
    ground = [shape for shape in picture.layout.shapes if shape.type == "rect"]
    assert [shape.x0 for shape in ground] == [0.5, 1.5, 2.5], "layer 0 holds no text"
    assert len({shape.fillcolor for shape in ground}) == 3
    names = [trace.name for trace in picture.data if trace.name]
    assert names[:3] == ["general (1)", "transitional (1)", "task-specific (1)"]
    lines = {trace.name: trace for trace in picture.data if trace.name}
    np.testing.assert_allclose(lines["probe accuracy, base"].y, [NAN, 0.6, 0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ((), "1 general, 1 transitional, 1 task-specific. The reading “early general, late task-specific” holds: they"),
        ((-1, 0, 0, 1), "holds in part: no layer is task-specific, the others stand in that order."),
        ((-1, 2, 0, 1), "does not hold: layer 2 is general and stands above layer 1, which is task-specific."),
    ],
)
def test_whether_the_reading_holds(kinds: tuple[int, ...], says: str):
    assert says in figures.in_words(reading(*kinds), "epoch 1", "base")


def test_the_rule_names_level_and_chance():
    assert "at least 0.9" in figures.rule(0.9, 2) and "chance (0.5)" in figures.rule(0.9, 2)
