"""Cosines: with the reference plain and split, symmetric scale, undefined cells empty, other epochs hidden."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import cosines, direction
from backend.figures import cosines as figures
from backend.figures.style import theme
from backend.stats.estimate import Estimate
from tests.figures.conftest import Shown


@pytest.fixture
def result(shown: Shown) -> cosines.Result:
    return cosines.recipe(cosines.Query(shown.study.checkpoints, shown.study.prompts), shown.lab)


def test_layers_against_layers(shown: Shown, result: cosines.Result):
    heat = figures.between_layers(result, 2, shown.names).data[0]
    z = np.array(heat.z, dtype=float)
    np.testing.assert_allclose(z, result.between_layers[0, 2], atol=6e-5)
    assert (heat.zmin, heat.zmax) == (-1, 1)


def test_checkpoints_against_checkpoints_with_their_numbers(shown: Shown, result: cosines.Result):
    heat, *numbers = figures.between_checkpoints(result, 12, shown.names).data
    assert sum(text == "1.00" for one in numbers for text in one.text) >= len(shown.names)
    (dark,) = [one for one in numbers if "base" in one.x[:1] and one.text[0] == "1.00"]
    assert dark.textfont.color == theme.ink_on(theme.DIRECTION)
    assert list(heat.x) == list(heat.y) == shown.names


def test_a_layer_without_a_direction_has_empty_cells(shown: Shown, result: cosines.Result):
    heat, *numbers = figures.between_checkpoints(result, 0, shown.names).data
    assert all(cell is None for row in heat.z for cell in row)
    assert not numbers


def test_other_epochs_are_there_but_hidden(shown: Shown, result: cosines.Result):
    picture = figures.between_layers(result, 1, shown.names, moves=True)
    assert [one.opacity for one in picture.data] == [0, 1, 0]
    assert [one.hoverinfo for one in picture.data] == ["skip", None, "skip"]
    assert [one.showscale for one in picture.data] == [False, True, False]
    assert picture.layout.meta["epochs"]["titles"]["base"] == "base: cosine between layers"


@pytest.fixture
def results(shown: Shown) -> list[direction.Result]:
    return [
        direction.recipe(
            direction.Query(one, shown.study.base, shown.study.prompts, draws=50, permutations=50, splits=5), shown.lab
        )
        for one in shown.study.checkpoints
    ]


def test_cosines_with_the_reference_are_shown_plain_and_split(shown: Shown, results: list[direction.Result]):
    picture = figures.to_reference(results[1:], shown.names[1:], [1, 2], 3, "epoch 7")
    assert "epoch 7" in picture.layout.title.text
    assert [trace.name for trace in picture.data][:2] == ["epoch 1, split halves", "epoch 1, plain"]
    assert list(picture.layout.yaxis.range) == [-1.05, 1.05]


def test_split_half_cosines_have_a_band_or_a_sentence(shown: Shown, results: list[direction.Result]):
    there = np.full_like(results[1].norm.value, 0.4)
    measured = replace(
        results[1],
        cosine_to_base_split=Estimate(there, there - 0.2, there + 0.2),
    )
    none = np.full_like(there, np.nan)
    empty = replace(measured, cosine_to_base_split=Estimate(none, none, none))
    picture = figures.to_reference([measured, empty], ["epoch 1", "epoch 2"], [1, 2], 3, "base")
    bands = [trace for trace in picture.data if trace.fill == "toself"]
    assert len(bands) == 1
    assert (min(bands[0].y), max(bands[0].y)) == pytest.approx((0.2, 0.6))
    assert figures.without_split([measured], ["epoch 1"], "base") is None
    said = figures.without_split([measured, empty], ["epoch 1", "epoch 2"], "base")
    assert said is not None
    assert "epoch 2: no split-half cosine at any layer" in said
