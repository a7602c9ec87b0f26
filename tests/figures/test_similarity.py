"""Similarity curves, floors, the layers that moved, and what is said of them."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import similarity
from backend.figures import similarity as figures
from backend.figures.style import following
from backend.stats.estimate import Estimate
from tests.analyses.changed_residuals import LABELS, residuals
from tests.figures.conftest import Shown

NAMES = ["epoch 1", "epoch 2"]


@pytest.fixture
def results(shown: Shown) -> list[similarity.Result]:
    asked = [replace(one, draws=20, permutations=5) for one in similarity.queries(shown.study)]
    return [similarity.recipe(query, shown.lab) for query in asked]


@pytest.mark.parametrize("measure", similarity.MEASURES)
def test_every_curve_is_drawn_the_chosen_one_with_interval_and_chance(results, measure):
    floors = [("two seeds", results[0])]
    picture = figures.curves(results, NAMES, [1, 2], 3, measure, "base", 1, floors)
    lines = {line.name: line for line in picture.data if line.name}
    wanted = {"epoch 1", "epoch 2", "chance", "two seeds"}
    assert lines.keys() == wanted | ({"different texts in base"} if measure == "cosine" else set())
    alike = results[1].alike(measure)
    (value, low, high), chance = alike.ends, alike.chance
    assert chance is not None
    np.testing.assert_allclose(lines["epoch 2"].y, value, rtol=1e-5)
    np.testing.assert_allclose(lines["epoch 2"].customdata, np.stack([low, high, chance], axis=1), rtol=1e-5)
    dotted = [line.y for line in picture.data if line.name == "chance" and line.opacity == 1]
    np.testing.assert_allclose(dotted[0], chance, rtol=1e-5)
    assert (lines["epoch 1"].opacity, lines["epoch 2"].opacity) == (following.FAINT, 1)
    assert lines["two seeds"].line.dash == "dash"
    bottom, top = picture.layout.yaxis.range
    assert bottom <= np.nanmin(low) and top >= np.nanmax(high)


def levels(*high: float) -> similarity.Result:
    values = np.array([np.nan, *high])
    one = similarity.similarity(*residuals(), LABELS, draws=2, permutations=2)
    return replace(one, cka=Estimate(values, values - 0.1, values))


def test_the_first_below_the_level_is_ringed_and_said():
    made = [levels(0.95, 0.8, 0.95), levels(0.85, 0.7, 0.95)]
    picture = figures.moved(made, NAMES, "cka", 0.9, "base")
    heat, rings = picture.data
    assert heat.z[0][0] is None
    assert list(zip(rings.x, rings.y, strict=True)) == [(1, "epoch 2"), (2, "epoch 1")]
    said = figures.moved_in_words(made, NAMES, "cka", 0.9)
    assert "layer 2 moved in **epoch 1**; layer 1 moved in **epoch 2**; layer 3 never did." in said


def test_what_goes_further_than_a_change_of_seed():
    far, floor = levels(0.5, 0.9, 0.5), levels(0.9, 0.9, 0.9)
    said = figures.beyond_floor(far, floor, "cka", "epoch 1", "epoch 2", "seed 1")
    assert said.startswith("Layers 1 and 3 of **epoch 1** went further than a mere change of seed")
    assert figures.beyond_floor(floor, floor, "cka", "a", "b", "c").startswith("No layer of **a** went")
