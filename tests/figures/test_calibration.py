"""Reliability curves: every bin with its interval, the diagonal, numbers and words."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import calibration
from backend.figures import calibration as figures
from backend.stats.estimate import Estimate
from tests.figures.conftest import Shown


@pytest.fixture
def results(shown: Shown) -> list[calibration.Result]:
    return [calibration.recipe(query, shown.lab) for query in calibration.queries(shown.study)]


def test_a_curve_holds_every_bin_with_its_interval(shown: Shown, results: list[calibration.Result]):
    picture = figures.reliability(results[1:], ["<b>1", "2"], [1, 2], 3, len(shown.words))
    line, _, diagonal = picture.data
    value, low, high = results[1].bin_accuracy.ends
    np.testing.assert_allclose(line.x, 100 * results[1].bin_confidence, rtol=1e-5)
    np.testing.assert_allclose(line.y, 100 * value, rtol=1e-5)
    np.testing.assert_allclose(line.y + line.error_y.array, 100 * high, rtol=1e-5)
    np.testing.assert_allclose(line.y - line.error_y.arrayminus, 100 * low, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose([diagonal.x, diagonal.y], [[100 / len(shown.words), 100]] * 2, rtol=1e-6)
    assert line.name == "&lt;b&gt;1"


def test_the_table_ends_with_equal_probabilities(shown: Shown, results: list[calibration.Result]):
    rows = figures.table(results, shown.names)
    assert [row["checkpoint"] for row in rows] == [*shown.names, "equal probabilities"]
    value, low, high = (end[0] for end in results[0].measures.ends)
    assert rows[0]["Brier score"] == f"{value:.3f} ({low:.3f} to {high:.3f})"
    assert rows[-1]["Brier score"] == f"{1 - 1 / len(shown.words):.3f}"
    assert figures.table([], []) == []


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.1, 0.05, 0.15), "**x** is overconfident by 10.0 points (5.0 to 15.0)."),
        ((-0.1, -0.15, -0.05), "**x** is underconfident by 10.0 points (5.0 to 15.0)."),
        ((0.01, -0.02, 0.04), "**x** is as confident as it is right, within the interval (-2.0 to +4.0 points)."),
    ],
)
def test_words_say_which_side(results: list[calibration.Result], ends: tuple[float, float, float], words: str):
    measures = Estimate(*(np.array([0.5, 0.5, end]) for end in ends))
    assert figures.in_words(replace(results[0], measures=measures), "x") == words
