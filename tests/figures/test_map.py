"""The map of one layer, and its drift in words."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses.map import Result
from backend.figures import map as figures


def result(drift: float = 0.5, floor: float = 0.1, reviews: int = 6) -> Result:
    xy = np.random.default_rng(0).normal(size=(reviews, 2)).astype(np.float32)
    return Result(xy=xy, drift=drift, noise_floor=floor, trustworthiness=0.91)


def test_each_class_has_a_colour_and_a_shape():
    labels = np.array([0, 1, 0, 1, 0, 1])
    picture = figures.draw(result(), labels, ["a"] * 6, ("bad", "good"), "epoch 1", selected=2)
    bad, good, ring = picture.data
    assert list(bad.customdata) == [0, 2, 4]
    assert bad.marker.symbol != good.marker.symbol
    assert bad.marker.color != good.marker.color
    assert list(ring.x) == [result().xy[2, 0]]
    assert picture.layout.yaxis.scaleanchor == "x"


def test_reviews_without_a_place_are_left_out():
    empty = Result(xy=np.full((4, 2), np.nan, np.float32), drift=np.nan, noise_floor=np.nan, trustworthiness=np.nan)
    picture = figures.draw(empty, np.array([0, 1, 0, 1]), ["a"] * 4, ("bad", "good"), "base", selected=1)
    assert [len(trace.x) for trace in picture.data] == [0, 0]
    assert "nothing to map" in figures.in_words(empty, "epoch 1", "base")


@pytest.mark.parametrize(
    ("drift", "words"), [(0.05, "do not read it"), (0.12, "with care"), (0.5, "5.0 times what two fits")]
)
def test_drift_is_set_against_the_noise_floor(drift: float, words: str):
    assert words in figures.in_words(result(drift), "epoch 1", "base")


def test_the_reference_is_where_the_others_start():
    assert "start from" in figures.in_words(result(), "base", "base")


def test_an_ordered_label_has_a_colour_bar_instead_of_classes():
    values = (1.0, 5.0, 3.0, 2.0, 4.0, 5.0)
    labels = np.zeros(6, np.int64)
    picture = figures.draw(result(), labels, [*"abcdef"], ("all texts",), "epoch 1", selected=2, values=values)
    points, _ = picture.data
    assert tuple(points.marker.color) == values
    assert (points.marker.cmin, points.marker.cmax) == (1, 5)
    assert points.marker.colorscale[0][1] != points.marker.colorscale[-1][1]
    assert list(points.customdata) == [0, 1, 2, 3, 4, 5] and points.marker.colorbar.thickness
    assert "lowest value" in str(figures.guide(True)) and "lowest value" not in str(figures.guide())
