"""Contexts as text: every token where it belongs, its activation behind it, and nothing that could be HTML."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.analyses import features
from backend.derived.feature_contexts import AROUND, Contexts, InText
from backend.figures import feature_contexts as figures
from tests.fakes import FakeModels, fake_lab, fake_study


def some() -> Contexts:
    value = np.full((2, 2, 2 * AROUND + 1), np.nan, np.float32)
    value[0, :, :3], value[1, :, :2] = [[0, 2, 0], [0, 1, 0]], [[3, 0], [4, 0]]
    return Contexts(
        np.array([2.0, 3.0], np.float32),
        np.array([4.0], np.float32),
        np.array([0, 1]),
        np.array([5, 6]),
        np.array([1, 0]),
        np.array([0, 0]),
        (("a", " <b>", " c"), ("d", " e")),
        value,
    )


def test_a_context_is_text_with_its_activations_behind_it():
    labels, index = np.array([0] * 5 + [1, 0]), np.arange(7) + 40
    drawn = figures.texts(some(), 0, ["base", 'epoch "1"'], ["negative", "positive"], labels, index)
    assert "Where it fires most in base" in drawn and "text 45, positive" in drawn and "text 46" not in drawn
    assert drawn.count("<span") == 1  # the others do not fire
    assert ">&lt;b&gt;</span> c</p>" in drawn and "<b>" not in drawn
    assert 'title="2 in base, 1 in epoch &quot;1&quot;"' in drawn
    strength = figures.FAINTEST + (figures.HIGHLIGHT - figures.FAINTEST) * 2 / 4  # the largest of all is 4
    assert f",{strength:.2f})" in drawn and "font-weight" in drawn


def test_a_model_in_which_it_is_silent_says_so():
    found = some()
    silent = Contexts(
        found.reference[:0],
        found.checkpoint,
        found.model[1:],
        found.review[1:],
        found.position[1:],
        found.start[1:],
        found.pieces[1:],
        found.value[1:],
    )
    assert "nowhere in b&lt;" in figures.texts(
        silent, 0, ["b<"], ["negative", "positive"], np.zeros(9, int), np.arange(9)
    )
    none = figures.histogram(silent, ["base", "epoch 1"], [0, 1], 2, 3)
    assert "(0 tokens)" in none.data[0].name


def test_histograms_count_the_tokens_that_fire():
    drawn = figures.histogram(some(), ["base", "epoch 1"], [0, 1], 2, 3)
    assert [np.nansum(one.y) for one in drawn.data] == [2, 1]
    assert drawn.layout.yaxis.type == "log"


def test_promoted_tokens_stand_side_by_side_and_sentences_tell_the_numbers(tmp_path: Path):
    models = FakeModels(layers=2, width=16)
    (query,) = features.queries(fake_study(models=models))
    result = features.recipe(query, fake_lab(tmp_path, models))
    fires = int(np.argmax(result.rate.min(axis=0)))
    drawn = figures.promoted(result, fires, ["base", "epoch 3"])
    assert len(drawn.data) == 2 and len(drawn.data[0].text) == features.PROMOTED
    bold = {text for text in drawn.data[0].text if text.startswith("<b>")}
    assert len(bold) == len(set(result.promotes(0, fires)) - set(result.promotes(1, fires)))
    said = figures.about(result, fires, ["base", "epoch 3"], 0)
    assert f"{result.auc[1, 0, fires]:.3f}" in said and "points" in said
    dead = int(np.argmin(result.rate.max(axis=0)))
    assert figures.about(result, dead, ["base"], 0) == "- **base**: it never fires."


def test_a_text_has_a_band_for_each_model_and_the_change():
    first, second = np.array([[np.nan] * 3, [0, 1, 2]], np.float32), np.array([[np.nan] * 3, [0, 1, 5]], np.float32)
    found = [InText(2, first), InText(2, second)]
    drawn = figures.in_text(found, ["base", "epoch 1"], ["It", " was"], 7)
    assert "Feature 7" in drawn.layout.title.text and "layer 2" in drawn.layout.title.text
    assert drawn.layout.coloraxis.cmax == 5
    heats = [one for one in drawn.data if one.type == "heatmap"]
    assert [one.coloraxis for one in heats] == ["coloraxis", "coloraxis2"]
    assert np.nanmax(heats[1].z) == 3
    alone = figures.in_text(found[:1], ["base"], ["It", " was"], 7)
    assert len([one for one in alone.data if one.type == "heatmap"]) == 1
