"""The answers and curves of a typed text, in pictures."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import review
from backend.figures import review as figures
from backend.study.typed_texts import read_typed
from tests.figures.conftest import Shown


@pytest.fixture
def results(shown: Shown) -> list[review.Result]:
    typed = read_typed(
        shown.study.readers,
        "The camera work drags.",
    )
    return [
        review.recipe(review.Query(one, shown.study.base, typed.prompts, shown.study.prompts), shown.lab)
        for one in shown.study.checkpoints
    ]


def test_the_answers_fill_a_bar_of_a_hundred_percent(shown: Shown, results: list[review.Result]):
    picture = figures.probabilities(results, shown.names, shown.words)
    assert [trace.name for trace in picture.data] == list(shown.words)
    np.testing.assert_allclose(np.sum([trace.x for trace in picture.data], axis=0), 100)
    np.testing.assert_allclose(picture.data[1].x, [100 * one.probability[1] for one in results])
    assert list(picture.data[0].y) == shown.names


def test_the_lens_is_drawn_three_ways(shown: Shown, results: list[review.Result]):
    pair = [results[0], results[2]]
    picture = figures.curves(pair, ["base", "epoch 2"], [0, 2], 3, shown.words, 0)
    drawn = {trace.name.partition(" (")[0]: trace.y for trace in picture.data}
    assert list(drawn) == [
        "base: own head and norm",
        "base: base's head, no norm",
        "epoch 2: own head and norm",
        "epoch 2: base's head, own norm",
        "epoch 2: base's head, no norm",
    ]
    np.testing.assert_allclose(drawn["epoch 2: own head and norm"], results[2].logit_diff[:, 0], rtol=1e-5)
    np.testing.assert_allclose(
        drawn["epoch 2: base's head, own norm"], results[2].logit_diff_reference_head[:, 0], rtol=1e-5
    )
    np.testing.assert_allclose(drawn["base: base's head, no norm"], results[0].logit_diff_no_norm[:, 0], rtol=1e-5)
    two = "Logit difference by layer: positive − negative (nats)"
    assert picture.layout.title.text == (
        two if len(shown.words) == 2 else "Logit difference by layer: negative − the others (nats)"
    )


def test_readings_without_a_norm_do_not_flatten_the_others(results: list[review.Result]):
    one = results[0]
    size = np.abs([one.logit_diff[:, 0], one.logit_diff_reference_head[:, 0]]).max()
    for times, hidden in ((figures.APART / 2, False), (figures.APART * 2, True)):
        far = replace(one, logit_diff_no_norm=np.full_like(one.logit_diff, times * size))
        traces = figures.curves([far], ["base"], [0], 1, ["negative", "positive"]).data
        assert [trace.visible == "legendonly" for trace in traces] == [False, hidden]
        assert ("hidden" in traces[1].name) is hidden


def test_what_has_no_reading_of_its_own_is_left_out(results: list[review.Result]):
    nothing = np.full_like(results[0].logit_diff, np.nan)
    headless = replace(results[0], logit_diff=nothing, logit_diff_reference_head=nothing, logit_diff_no_norm=nothing)
    encoder = replace(results[1], logit_diff_no_norm=results[1].logit_diff_reference_head)
    traces = figures.curves([headless, encoder], ["base", "epoch 1"], [0, 1], 2, ["negative", "positive"]).data
    assert [trace.name for trace in traces] == ["epoch 1: own head and norm", "epoch 1: base's head, own norm"]


def test_both_class_means_are_drawn(shown: Shown, results: list[review.Result]):
    picture = figures.places(results[2:], ["epoch 2"], [2], 3, shown.words, len(shown.words) - 2)
    assert [shape.y0 for shape in picture.layout.shapes] == [0, 1]
    low, high = ("negative", "positive") if len(shown.words) == 2 else ("the others", "positive")
    assert f"0 = mean of {low}, 1 = mean of {high}" in picture.layout.title.text
    np.testing.assert_allclose(picture.data[0].y, results[2].place[:, len(shown.words) - 2], rtol=1e-5)
    assert np.isnan(picture.data[0].y[0]), "layer 0 holds no text"


def test_label_words_are_no_markup():
    assert figures.against(("<b>", "a&b"), 0) == "a&amp;b − &lt;b&gt;"
    assert figures.sides(("a", "b", "c"), 2) == ("the others", "c")
