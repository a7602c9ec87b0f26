"""Curves over coefficients, coefficients by layers, transfer and the sentences about steering."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import steering
from backend.analyses.steering import Query, Result
from backend.derived.steering_vectors import ALPHAS, every_layer
from backend.figures import steering as figures
from tests.figures.conftest import Shown


def query(shown: Shown, **more: object) -> Query:
    last = shown.study.checkpoints[-1]
    asked = Query(last, last, shown.study.prompts, ((12, 12),), null=5, draws=40, permutations=50)
    return replace(asked, **more)


@pytest.fixture(scope="module")
def curve(shown: Shown) -> tuple[Result, Query]:
    asked = query(shown)
    return steering.recipe(asked, shown.lab), asked


@pytest.mark.parametrize("measure", figures.SHOWN)
def test_a_curve_stands_over_the_range_of_permuted_directions(curve, measure: steering.Measure):
    result, asked = curve
    picture = figures.coefficients(result, asked, measure)
    null_band, null, band, line = picture.data
    scale = 100 if measure == "balanced_accuracy" else 1
    (value, _, high), drawn = result.of(measure).ends, result.null_of(measure)
    np.testing.assert_allclose(line.y, scale * value[0], rtol=1e-5)
    np.testing.assert_allclose(line.customdata[:, 1], scale * high[0], rtol=1e-5)
    np.testing.assert_allclose(null.customdata[:, 0], scale * drawn[:, 0].min(axis=0), rtol=1e-5)
    assert null_band.fill == band.fill == "toself"
    assert null.name == "5 permuted directions as long"
    assert list(picture.layout.xaxis.ticktext) == ["-8", "-4", "-2", "-1", "0", "1", "2", "4", "8"]
    assert picture.layout.title.text == f"epoch 2, its own direction at layer 12: {figures.UNITS[measure]}"


def test_small_coefficients_have_room_and_signs_are_mirrored():
    at = figures.spread(ALPHAS)
    assert (np.diff(at) > 0).all()
    np.testing.assert_allclose(at, -at[::-1])
    assert at[ALPHAS.index(1.0)] == 1


def test_flips_go_both_ways(curve, shown: Shown):
    result, asked = curve
    lines = [one for one in figures.flips(result, asked, shown.words).data if one.mode == "lines+markers"]
    word = shown.words[1] if len(shown.words) == 2 else shown.words[0]
    assert [one.name for one in lines] == [f"became {word}", f"left {word}"]
    for line, measure in zip(lines, ("flipped_to_1", "flipped_to_0"), strict=True):
        np.testing.assert_allclose(line.y, 100 * result.of(measure).value[0], rtol=1e-5)


def test_without_permuted_directions_there_is_no_band(shown: Shown):
    asked = query(shown, null=0)
    assert len(figures.coefficients(steering.recipe(asked, shown.lab), asked, "gap").data) == 2


@pytest.fixture(scope="module")
def sweep(shown: Shown) -> tuple[Result, Query]:
    asked = query(shown, spots=every_layer(12), null=0)
    return steering.recipe(asked, shown.lab), asked


def test_the_heat_map_holds_every_layer_and_coefficient(sweep):
    result, asked = sweep
    heat = figures.heatmap(result, asked, "mean_logit_diff").data[0]
    value = result.of("mean_logit_diff").value
    plain = result.plain[steering.MEASURES.index("mean_logit_diff")]
    assert heat.z[0][0] is None  # layer 0 of the fake holds no text
    assert heat.z[8][12] == pytest.approx(value[12, 8], abs=6e-5)
    assert heat.zmin + heat.zmax == pytest.approx(2 * plain)
    assert list(heat.y) == ["-8", "-4", "-2", "-1", "0", "1", "2", "4", "8"]


def test_transfer_has_one_layer_and_all(sweep, shown: Shown):
    result, asked = sweep
    whole = steering.recipe(replace(asked, spots=tuple((layer, None) for layer in range(13))), shown.lab)
    picture = figures.transfer(result, whole, asked, "gap", 2.0, "<epoch 2>")
    lines = [one for one in picture.data if one.mode == "lines+markers"]
    np.testing.assert_allclose(lines[0].y, result.of("gap").value[:, ALPHAS.index(2.0)], rtol=1e-5)
    np.testing.assert_allclose(lines[1].y, whole.of("gap").value[:, ALPHAS.index(2.0)], rtol=1e-5)
    assert "directions of &lt;epoch 2&gt;, α = 2" in picture.layout.title.text


def test_words_say_coefficient_permuted_directions_and_the_end(curve, shown: Shown):
    result, asked = curve
    said = figures.in_words(result, asked, shown.words)
    value, null = result.of("mean_logit_diff").value, result.null_of("mean_logit_diff")
    plain = result.plain[steering.MEASURES.index("mean_logit_diff")]
    far = int((abs(null[:, 0, 5] - plain) >= abs(value[0, 5] - plain)).sum())
    assert f"by {value[0, 5] - plain:+.2f}, from" in said[1]
    assert f"{far} of 5 permuted ones as far" in said[1]
    assert "gives one answer to every text" in said[2]


def test_a_direction_within_chance_is_said_plainly(curve, shown: Shown):
    result, asked = curve
    weak = replace(result, norm=np.array([0.5]), chance=np.array([0.8]))
    assert figures.in_words(weak, asked, shown.words)[0].startswith(
        "The direction of epoch 2 at layer 12 is within chance (length 0.5; permuted labels reach 0.8)."
    )
    assert "Trust only effects that permuted directions do not have." in figures.in_words(weak, asked, shown.words)[0]
    strong = replace(result, norm=np.array([1.5]), chance=np.array([0.8]))
    assert "beyond the 0.8" in figures.in_words(strong, asked, shown.words)[0]
    every = replace(result, norm=np.array([np.nan]), chance=np.array([np.nan]))
    assert len(figures.in_words(every, asked, shown.words)) == 2
    nothing = replace(result, measures=result.measures.map(lambda end: end * np.nan))
    assert "no direction to put" in figures.in_words(nothing, asked, shown.words)[0]


def test_titles_name_what_is_put_where(shown: Shown):
    base, last = shown.study.base, shown.study.checkpoints[-1]
    assert figures.where(query(shown, spots=((None, None),))) == "its own directions at all layers"
    assert figures.where(query(shown, spots=((3, 5),))) == "epoch 2's direction of layer 3 at layer 5"
    moved = query(shown, checkpoint=base, direction_from=last, spots=((4, None),))
    assert figures.where(moved) == "epoch 2's direction of layer 4 at all layers"
