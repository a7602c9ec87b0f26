"""Traces and shapes of an epoch: opaque if it is chosen, silent while they are hidden."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest

from backend.figures.style import following, theme

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


def heat(value: float, title: str = "CKA", more: int = 0) -> go.Figure:
    """A heat map of one cell, with some empty curves."""
    traces = [{"type": "heatmap", "z": [[value]], "zmin": 0, "zmax": 1}, *[{"type": "scatter", "y": [1.0]}] * more]
    return theme.figure(traces, title, 300)


def test_a_film_holds_what_differs_between_epochs_alone():
    drawn = following.film({"epoch 1": heat(0.2, "one"), "epoch <2>": heat(0.4, "two")}, "epoch 1")
    epochs = drawn.layout.meta["epochs"]
    assert (epochs["chosen"], epochs["filmed"]) == ("epoch 1", ["epoch 1", "epoch &lt;2&gt;"])
    (first, second) = epochs["frames"]
    assert first["traces"] == [{"z": [[0.2]]}] and second["traces"] == [{"z": [[0.4]]}]
    assert second["layout"].keys() == {"title", "datarevision"} and second["layout"]["title"]["text"] == "two"
    assert drawn.to_plotly_json()["data"][0]["z"][0][0] == 0.2


def test_a_picture_that_is_the_same_at_every_epoch_or_too_large_stays_as_it_is(monkeypatch: pytest.MonkeyPatch):
    assert following.film({"epoch 1": heat(0.2), "epoch 2": heat(0.2)}, "epoch 1").layout.meta is None
    monkeypatch.setattr(following, "MOST_BYTES", 10)
    assert following.film({"epoch 1": heat(0.2), "epoch 2": heat(0.4)}, "epoch 1").layout.meta is None


def test_an_epoch_with_other_traces_is_held_whole():
    frames = following.film({"epoch 1": heat(0.2), "epoch 2": heat(0.2, more=1)}, "epoch 2").layout.meta["epochs"]
    assert [len(frame["whole"]) for frame in frames["frames"]] == [1, 2]


def test_a_picture_of_the_only_known_epoch_says_that_it_lacks_the_others():
    alone = following.film({"epoch 1": heat(0.2)}, "epoch 1")
    assert alone.layout.meta["epochs"]["filmed"] == ["epoch 1"]
    assert following.without_film(alone).layout.meta is None and alone.layout.meta is not None
