"""Traces and shapes of an epoch: opaque if it is chosen, silent while they are hidden."""

from __future__ import annotations

from backend.figures.style import following

LINE = {"type": "scatter", "hovertemplate": "%{y}"}
BAND = {"type": "scatter", "hoverinfo": "skip"}


def test_a_hidden_trace_is_silent_and_says_that_it_speaks_when_shown():
    (hidden,) = following.of_epoch([LINE], "epoch 1", "epoch 2")
    assert (hidden["opacity"], hidden["hoverinfo"]) == (0, "skip")
    assert hidden["meta"] == {"epoch": "epoch 1", "otherwise": 0.0, "speaks": True}
    (shown,) = following.of_epoch([LINE], "epoch 2", "epoch 2")
    assert shown["opacity"] == 1 and "hoverinfo" not in shown
    (band,) = following.of_epoch([BAND], "epoch 2", "epoch 2")
    assert band["meta"]["speaks"] is False


def test_the_reference_is_always_shown_and_others_are_faint():
    ends = ("epoch 2", "base")
    assert following.curve([LINE], [BAND], "base", ends) == [BAND, LINE]
    detail, line = following.curve([LINE], [BAND], "epoch 1", ends)
    assert (detail["opacity"], line["opacity"]) == (0, following.FAINT)
    assert [one["opacity"] for one in following.curve([LINE], [BAND], "epoch 2", ends)] == [1, 1]
    assert following.curve([LINE], [BAND], "epoch 1", following.NONE) == [BAND, LINE]


def test_a_shape_per_epoch_of_which_one_is_visible():
    found = following.shapes({"base": {"type": "rect"}, "epoch 1": {"type": "rect"}}, "base")
    assert [(one["name"], one["opacity"]) for one in found] == [("epoch: base", 1), ("epoch: epoch 1", 0)]


def test_labels_are_escaped():
    assert following.layout(["<b>"], {"<b>": "<b>: x"}) == {
        "meta": {"epochs": {"labels": ["&lt;b&gt;"], "titles": {"&lt;b&gt;": "&lt;b&gt;: x"}}}
    }


def test_the_program_of_a_file_starts_itself():
    assert "export default" not in following.script() and "follow();" in following.script()
