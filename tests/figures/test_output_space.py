"""Measures by checkpoint, masses, ranked tokens, and the sentences that say which summary carries an outlier."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses.output_space import MEASURES, Result
from backend.figures import output_space as figures
from backend.figures.style.step_axis import step_axis
from backend.stats.estimate import Estimate, alone, undefined
from backend.vocabulary import neutral


def result() -> Result:
    value = np.arange(1, len(MEASURES) + 1, dtype=float)
    return Result(
        measures=Estimate(value, value - 0.5, value + 0.25),
        loss=np.array([2.0, 3.0, 4.0]),
        predicted=np.array([2, 3, 4]),
        left_out=("kitchen", "thousand"),
        groups=("label words", "positive", "<own>", "all other tokens"),
        group_size=np.array([2, 50, 0, 900]),
        mass_before=np.array([0.01, 0.04, 0.0, 0.95]),
        mass_after=np.array([0.61, 0.05, 0.0, 0.34]),
        mass_change=Estimate(
            np.array([0.60, 0.01, 0.0, -0.61]),
            np.array([0.50, -0.01, 0.0, -0.70]),
            np.array([0.65, 0.02, 0.0, -0.55]),
        ),
        token_id=np.array([7, 8, 9, 5]),
        token=("␣up", "<b>", "␣down", "␣furthest"),
        group=np.array([0, 3, 3, 1]),
        change=np.array([3.0, 1.0, -2.0, -4.0]),
        before=np.array([0.01, 0.1, 0.2, 0.3]),
        after=np.array([0.2, 0.3, 0.1, 0.004]),
        rose=np.array([1.0, 0.9, 0.1, 0.0]),
    )


def test_a_measure_has_a_line_for_each_set_of_texts():
    second = replace(result(), measures=result().measures.map(lambda end: end * 2))
    picture = figures.draw(
        {"neutral": [result(), second], "sample": [second, result()]}, step_axis(["base", "<1>"]), "entropy"
    )
    neutral_line, sample_line = picture.data
    assert list(neutral_line.y) == [1, 2]
    assert list(sample_line.y) == [2, 1]
    assert neutral_line.error_y.array[0] == pytest.approx(0.25)
    assert neutral_line.error_y.arrayminus[0] == pytest.approx(0.5)
    assert neutral_line.marker.symbol != sample_line.marker.symbol
    assert list(picture.layout.xaxis.ticktext) == ["base", "&lt;1&gt;"]
    assert picture.layout.yaxis.type is None
    assert figures.draw({"neutral": [result()]}, step_axis(["base"]), "perplexity").layout.yaxis.type == "log"


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_has_a_title_and_its_own_value(measure: str):
    picture = figures.draw({"neutral": [result()]}, step_axis(["base"]), measure)
    assert picture.layout.title.text == figures.TITLES[measure]
    assert picture.data[0].y[0] == MEASURES.index(measure) + 1
    assert len(set(figures.TITLES.values())) == len(MEASURES)


def test_an_undefined_value_is_not_drawn():
    blank = replace(result(), measures=undefined(len(MEASURES)))
    picture = figures.draw({"neutral": [result(), blank]}, step_axis(["base", "epoch 1"]), "non_sentiment_mass")
    assert len(picture.data[0].y) == 1


def test_masses_are_changes_in_points_and_groups_without_tokens_are_left_out():
    picture = figures.masses(result(), "epoch 1")
    (trace,) = picture.data
    assert list(trace.x) == pytest.approx([60, 1, -61])
    assert list(trace.error_x.array) == pytest.approx([5, 1, 6])
    assert list(trace.error_x.arrayminus) == pytest.approx([10, 2, 9])
    assert trace.y[0] > trace.y[-1]
    assert "label words<br>1 % → 61 %" in picture.layout.yaxis.ticktext
    assert "900 tokens" in trace.customdata[2]


def test_tokens_are_ranked_by_how_far_they_went():
    up, down = (figures.listed(result(), rising, "epoch 1") for rising in (True, False))
    assert list(up.layout.yaxis.ticktext) == ["␣up", "&lt;b&gt;"]
    assert list(down.layout.yaxis.ticktext) == ["␣furthest", "␣down"]
    assert {bar.name: list(bar.x) for bar in down.data} == {"positive": [-4], "all other tokens": [-2]}
    assert all(bar.width == 0.75 for bar in (*up.data, *down.data)), "bars of a group that stand apart are no wider"
    assert "0.01 → 0.2, likelier in 100 % of texts" in up.data[0].customdata[0]
    nothing = replace(result(), change=np.zeros(4))
    assert not figures.listed(replace(nothing, change=np.ones(4)), False, "").data


def test_the_sentence_finds_the_summary_that_carries_an_outlier():
    """Ten texts of perplexity e and one word of e^9: the mean follows it, twenty tokens for each other text do not."""
    odd = replace(result(), loss=np.array([*[20.0] * 10, 9.0]), predicted=np.array([*[20] * 10, 1]))
    assert figures.largest(odd) == 10
    said = figures.outlier(odd, "neutral", "epoch 1", "the odd one")
    assert "That text dominates only the mean of the texts' perplexities" in said
    assert "“the odd one” (perplexity 8,103)" in said
    assert f"{(10 * np.e + np.exp(9)) / 11:,.4g}" in said
    assert "they are 2.718 and 2.718" in said
    even = replace(result(), loss=np.full(20, 3.0), predicted=np.full(20, 3))
    assert "No text dominates either of them" in figures.outlier(even, "neutral", "epoch 1", "")
    long = replace(result(), loss=np.array([2.0, 2.0, 4000.0]), predicted=np.array([2, 2, 1000]))
    assert "That text dominates both of them" in figures.outlier(long, "sample", "epoch 1", "")
    single = replace(result(), loss=np.zeros(2), predicted=np.array([0, 4]))
    assert "fewer than two texts" in figures.outlier(single, "sample", "epoch 1", "")
    assert figures.largest(replace(single, predicted=np.array([0, 0]))) is None


def test_the_sentence_says_where_probability_went():
    said = figures.where_mass_went(result(), "sample", "epoch 1", result().groups)
    assert "label words gained most (1 % → 61 %; change +50 to +65 points)" in said
    assert "all other tokens lost most (95 % → 34 %" in said
    unsure = replace(result(), mass_change=replace(result().mass_change, low=np.full(4, -1.0), high=np.ones(4)))
    assert "no group's probability changed" in figures.where_mass_went(unsure, "sample", "epoch 1", result().groups)


def test_words_that_are_not_one_token_are_counted_and_named():
    used = len(neutral.WORDS) - 2
    assert f"{used} of the {len(neutral.WORDS)} non-sentiment words" in figures.words(result())
    assert figures.words(result()).endswith("Left out: kitchen, thousand.")
    assert "left out" not in figures.words(replace(result(), left_out=()))


@pytest.mark.parametrize("decades", [0.1, 1, 1.5, 3, 9, 15])
def test_a_logarithmic_axis_has_at_most_six_ticks_or_so(decades: float):
    at = MEASURES.index("non_sentiment_mass")
    measured = [
        replace(result(), measures=alone(np.eye(len(MEASURES))[at] * 10.0**-power)) for power in (2, 2 + decades)
    ]
    axis = figures.draw({"neutral": measured}, step_axis(["base", "epoch 1"]), "non_sentiment_mass").layout.yaxis
    ticks = axis.nticks or (3 * decades if axis.dtick == "D2" else decades / axis.dtick)
    assert 1.0 / 3 <= ticks <= 6
