"""Heat map, curves and one review along the direction."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import direction
from backend.figures import direction as figures
from backend.figures.style import following
from tests.figures.conftest import Shown


@pytest.fixture
def results(shown: Shown) -> list[direction.Result]:
    return [
        direction.recipe(
            direction.Query(one, shown.study.base, shown.study.prompts, draws=50, permutations=50, splits=5), shown.lab
        )
        for one in shown.study.checkpoints
    ]


@pytest.mark.parametrize("scale", figures.SCALES)
def test_the_heat_map_holds_each_checkpoints_curve(shown: Shown, results: list[direction.Result], scale: figures.Scale):
    heat = figures.heatmap(results, shown.names, scale).data[0]
    for row, result in zip(heat.z, results, strict=True):
        curve = figures.values(result, scale)[0]
        np.testing.assert_allclose([np.nan if v is None else v for v in row], curve, atol=6e-5)
    assert list(heat.y) == shown.names


@pytest.mark.parametrize("scale", figures.SCALES)
def test_curves_come_with_interval_and_chance(shown: Shown, results: list[direction.Result], scale: figures.Scale):
    picture = figures.curves(results[1:2], shown.names[1:2], [1], 3, scale)
    names = [trace.name for trace in picture.data]
    assert "epoch 1" in names
    assert "chance" in names
    assert any(trace.fill == "toself" for trace in picture.data)
    assert picture.layout.yaxis.title.text == figures.UNITS[scale]


def test_other_checkpoints_are_faint_and_what_follows_the_epoch_is_named(shown: Shown, results: list[direction.Result]):
    last = shown.names[-1]
    picture = figures.curves(results, shown.names, [0, 1, 2], 3, "separation", ends=(last, "base"))
    assert list(picture.layout.meta["epochs"]["labels"]) == shown.names
    lines = {one.name: one.opacity for one in picture.data if one.mode == "lines+markers"}
    assert lines == {"base": None, "epoch 1": following.FAINT, last: 1}
    bands = {one.meta and one.meta["epoch"]: one.opacity for one in picture.data if one.fill == "toself"}
    assert bands == {None: None, "epoch 1": 0, last: 1}
    frames = figures.heatmap(results, shown.names, "separation", chosen=(1, 3)).layout.shapes
    assert [(one.name, one.opacity) for one in frames] == [
        (f"epoch: {name}", float(name == "epoch 1")) for name in shown.names
    ]


def test_the_layer_that_leaves_chance_is_ringed(shown: Shown, results: list[direction.Result]):
    sure = replace(results[1], leaves_chance=(5,) * len(results[1].leaves_chance))
    never = replace(results[0], leaves_chance=(-1,) * len(results[0].leaves_chance))
    rings = figures.heatmap([never, sure], ["base", "epoch 1"], "raw").data[1]
    assert (list(rings.x), list(rings.y)) == ([5], ["epoch 1"])
    assert figures.leaves_chance([never, sure], ["base", "epoch 1"]) == (
        "The classes stay further apart than chance in **base** at no layer, in **epoch 1** from layer 5 on."
    )


def test_class_means_stand_at_zero_and_one(shown: Shown, results: list[direction.Result]):
    result = results[-1]
    labels = shown.study.prompts.labels
    places = np.stack(
        [figures.review([result], ["epoch 2"], [2], 3, shown.words, i).data[0].y for i in range(len(labels))]
    )
    one_is = 1 if len(shown.words) == 2 else 0
    np.testing.assert_allclose(places[labels == one_is].mean(axis=0)[1:], 1, atol=1e-3)
    np.testing.assert_allclose(places[labels != one_is].mean(axis=0)[1:], 0, atol=1e-3)
