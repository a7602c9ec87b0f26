"""Bars of the neighbours that stayed."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np

from backend.figures import token_neighbours as figures
from tests.figures.neighbours import near


def test_each_bar_tells_who_left() -> None:
    picture = figures.draw(near(), "epoch 1")
    (bars,) = picture.data
    assert np.asarray(bars.x).tolist() == [50.0, 100.0]
    assert list(picture.layout.yaxis.ticktext) == ["␣good", "␣bad"]
    told = bars.customdata[0]
    assert "before: ␣bad  <i>␣Good</i>" in told
    assert "after: ␣bad  <i>&lt;b&gt;</i>" in told
    assert "2 nearest" in picture.layout.xaxis.title.text


def test_a_row_of_zeros_has_no_bar() -> None:
    one = near()
    empty = type(one)(one.ids, np.array([np.nan, 1.0]), np.array([[-1, -1], [0, 4]]), one.after, one.named, one.names)
    (bars,) = figures.draw(empty, "epoch 1").data
    assert np.isnan(bars.x[0])
    assert "before: none" in bars.customdata[0]
