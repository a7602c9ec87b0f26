"""The small picture beside a finding."""

from __future__ import annotations

import base64
import math
from xml.etree import ElementTree

from backend.figures.style import thumbnail


def bars(series: list[float], at: int) -> list[dict[str, str]]:
    encoded = thumbnail.image(series, at).split("base64,")[1].split('"')[0]
    return [dict(bar.attrib) for bar in ElementTree.fromstring(base64.b64decode(encoded))]


def test_bars_grow_with_the_values_and_one_is_marked():
    drawn = bars([1.0, 2.0, math.nan, 4.0], 3)
    assert [float(bar["height"]) for bar in drawn] == [9.0, 18.0, 36.0]
    assert [float(bar["y"]) + float(bar["height"]) for bar in drawn] == [36.0] * 3
    assert [bar["opacity"] for bar in drawn] == ["0.45", "0.45", "1"]
    assert float(drawn[2]["x"]) > 3 * float(drawn[0]["width"]), "an undefined value is a gap"


def test_values_far_from_zero_are_told_apart():
    drawn = bars([0.97, 0.98, 0.99], 0)
    heights = [float(bar["height"]) for bar in drawn]
    assert heights[0] < 0.3 * heights[2]


def test_negative_values_and_equal_values_are_drawn():
    assert len(bars([-1.0, 0.5, 0.0], 1)) == 3
    assert len(bars([2.0, 2.0], 0)) == 2


def test_nothing_is_drawn_of_less_than_two_values():
    assert thumbnail.image([math.nan, 1.0], 1) == ""
    assert thumbnail.image([], 0) == ""
