"""Curves through a head with chance, checkpoint x layer, and reviews that flip."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import probes
from backend.figures import flips
from backend.figures import probes as figures
from tests.figures.conftest import Shown

OWN: probes.Reading = ("own", "own")


@pytest.fixture
def results(shown: Shown) -> list[probes.Result]:
    return [
        probes.recipe(probes.Query(one, shown.study.base, shown.study.prompts, draws=20, permutations=50), shown.lab)
        for one in shown.study.checkpoints
    ]


@pytest.mark.parametrize("measure", figures.MEASURES)
@pytest.mark.parametrize("reading", [("base", "none"), OWN, probes.AS_PUBLISHED])
def test_curves_and_heat_map_hold_the_numbers(shown: Shown, results, measure, reading):
    picture = figures.curves(results[1:2], ["epoch 1"], ["#724cce"], shown.words, reading, measure)
    result = results[1]
    place = result.place(*reading)
    drawn = next(trace for trace in picture.data if trace.mode == "lines+markers")
    array = getattr(result, measure).value[place]
    scale = 100 if measure in ("balanced_accuracy", "recall") else 1
    np.testing.assert_allclose(drawn.y, scale * (array[:, 0] if array.ndim == 2 else array), rtol=1e-5)
    dotted = [trace for trace in picture.data if (trace.name or "").startswith("chance, ")]
    assert len(dotted) == (measure in figures.WITH_CHANCE)
    heat = figures.heatmap(results, shown.names, shown.words, reading, measure).data[0]
    np.testing.assert_allclose(np.array(heat.z[1], dtype=float), drawn.y, atol=1e-3)
    assert (heat.zmin + heat.zmax) / 2 == pytest.approx(heat.zmid)


def test_every_class_has_its_recall(shown: Shown, results):
    picture = figures.curves(results[1:2], ["epoch 1"], ["#724cce"], shown.words, OWN, "recall")
    assert [trace.name for trace in picture.data if trace.name] == [f"epoch 1, {word}" for word in shown.words]


def test_the_layer_that_leaves_chance_is_ringed_and_said(shown: Shown, results):
    count = len(results[1].heads)
    sure = replace(results[1], auc_leaves_chance=(4,) * count, balanced_accuracy_leaves_chance=(-1,) * count)
    rings = figures.heatmap([sure], ["epoch 1"], shown.words, OWN, "auc").data[1]
    assert (list(rings.x), list(rings.y)) == ([4], ["epoch 1"])
    said = figures.leaves_chance([sure], ["epoch 1"], OWN)
    assert said == "**epoch 1** leaves chance at layer 4 by AUC and never stays above chance by balanced accuracy."
    ring = figures.curves([sure], ["epoch 1"], ["#724cce"], shown.words, OWN, "auc").data[-2]
    assert (list(ring.x), list(ring.y)) == ([4], [sure.auc.value[sure.place(*OWN), 4]])


def test_what_is_alike_is_said_once(shown: Shown, results):
    count = len(results[1].heads)
    sure = replace(results[1], auc_leaves_chance=(4,) * count, balanced_accuracy_leaves_chance=(4,) * count)
    said = figures.leaves_chance([sure], ["x"], OWN)
    assert said == "**x** leaves chance at layer 4 by AUC and by balanced accuracy."


@pytest.mark.parametrize("measure", figures.MEASURES)
def test_all_readings_stand_in_one_picture_with_the_published_one_marked(shown: Shown, results, measure):
    result = results[1]
    drawn = figures.readings(result, "epoch 1", "base", shown.words, measure).data
    assert len(drawn) == len(result.readings) == 7
    assert len({(trace.line.color, trace.line.dash) for trace in drawn}) == 7
    marked = [trace for trace in drawn if "as published" in trace.name]
    assert [trace.marker.symbol for trace in marked] == ["star"]
    for reading, trace in zip(result.readings, drawn, strict=True):
        np.testing.assert_allclose(trace.y, figures.values(result, reading, measure)[0], rtol=1e-5, equal_nan=True)
    alone = figures.readings(results[0], "base", "base", shown.words, measure).data
    assert len(alone) == len(results[0].readings) == 3


def test_reviews_stand_by_class_and_by_their_last_flip(shown: Shown, results):
    result, labels = results[-1], shown.study.prompts.labels
    picture = flips.reviews(result, labels, shown.study.sample.text, shown.words, "epoch 2", OWN, selected=7)
    place = result.place(*OWN)
    dots = picture.data[1 : 1 + len(shown.words)]
    order = np.concatenate([dot.customdata for dot in dots])
    assert sorted(order) == list(range(len(labels)))
    assert (np.diff(labels[order]) >= 0).all()
    for dot in dots:
        assert (np.diff(result.settles(place)[dot.customdata]) >= 0).all()
    answers = np.array([[shown.words[a] for a in row] for row in result.prediction[place][:, order].T])
    np.testing.assert_array_equal(np.array(picture.data[0].customdata), answers)
    mark = picture.data[-1]
    assert order[mark.y[0]] == 7


def test_a_cell_of_two_classes_has_the_sign_of_the_lens(shown: Shown, results):
    if len(shown.words) > 2:
        pytest.skip("more classes show the answer")
    result = results[-1]
    picture = flips.reviews(result, shown.study.prompts.labels, shown.study.sample.text, shown.words, "", OWN)
    order = np.concatenate([dot.customdata for dot in picture.data[1:3]])
    logit_diff = result.logit_diff[result.place(*OWN), :, :, 0][:, order].T
    z = np.array(picture.data[0].z, dtype=float)
    np.testing.assert_array_equal(np.sign(z[np.abs(z) > 1e-3]), np.sign(logit_diff[np.abs(z) > 1e-3]))


def test_one_review_crosses_zero_where_its_answer_flips(shown: Shown, results):
    drawn = flips.review(results, shown.names, [0, 1, 2], 3, shown.words, OWN, 5).data
    assert [trace.name for trace in drawn] == shown.names
    place = results[2].place(*OWN)
    np.testing.assert_allclose(drawn[2].customdata, results[2].logit_diff[place, :, 5, 0], rtol=1e-5)
