"""The sample card in sentences and pictures."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import confounds
from backend.figures import confounds as figures
from backend.stats.estimate import Estimate, undefined
from tests.figures.conftest import Shown


@pytest.fixture
def result(shown: Shown) -> confounds.Result:
    study = shown.study
    query = confounds.Query(study.checkpoints, study.prompts, study.sample, study.training, draws=50)
    return confounds.recipe(query, shown.lab)


def test_quartiles_name_their_lengths_and_sizes(shown: Shown, result: confounds.Result):
    picture = figures.quartiles(result, shown.names)
    assert len(picture.data) == len(shown.names)
    assert picture.layout.xaxis.ticktext[0].endswith(f"n = {result.quartile_n[0]}")
    np.testing.assert_allclose(picture.data[1].y, 100 * result.quartile_accuracy.value[1], rtol=1e-6)


def test_quartiles_that_ties_leave_empty_are_left_out(shown: Shown, result: confounds.Result):
    n = np.array([60, 0, 0, 0])
    accuracy = result.quartile_accuracy.map(lambda end: np.where(n > 0, end, np.nan))
    tied = replace(result, quartile_n=n, quartile_accuracy=accuracy)
    picture = figures.quartiles(tied, shown.names)
    assert len(picture.layout.xaxis.ticktext) == 1 and [len(one.y) for one in picture.data] == [1] * len(shown.names)


def test_cosines_between_reviews_have_a_curve_per_checkpoint(shown: Shown, result: confounds.Result):
    assert [trace.name for trace in figures.sameness(result, shown.names).data] == shown.names


def test_a_single_review_has_an_axis_and_no_curve(shown: Shown, result: confounds.Result):
    alone = replace(result, review_cosine=np.full_like(result.review_cosine, np.nan))
    assert np.isfinite(figures.sameness(alone, shown.names).layout.yaxis.range).all()


def test_the_card_warns_when_length_tells_the_classes_apart(shown: Shown, result: confounds.Result):
    honest = replace(result, length_auc=Estimate(0.5, 0.4, 0.6))
    telling = replace(result, length_auc=Estimate(0.7, 0.6, 0.8))
    assert "may be length" not in figures.card(honest, shown.names, 60)[0]
    assert "may be length" in figures.card(telling, shown.names, 60)[0]


def test_the_card_says_which_layers_hold_no_text(shown: Shown, result: confounds.Result):
    assert figures.card(result, shown.names, 60)[-1].startswith("Layer 0 holds no text")


def test_the_card_names_no_best_checkpoint_that_there_is_not(shown: Shown, result: confounds.Result):
    assert "Chosen on one half" in figures.card(result, shown.names, 60)[5]
    small = replace(result, best_on_half=-1, held_half_accuracy=undefined())
    assert "too small to choose on one half" in figures.card(small, shown.names, 6)[5]
    assert "none is the best" in figures.card(replace(small, naive_best=-1), shown.names, 6)[5]


def test_the_card_chooses_none_where_one_alone_can_answer(shown: Shown, result: confounds.Result):
    only = undefined(*result.quartile_accuracy.value.shape)
    only.put(1, 0.5, (0.4, 0.6))
    said = figures.card(replace(result, quartile_accuracy=only, naive_best=1), shown.names, 60)[5]
    assert said.startswith(f"Only **{shown.names[1]}** has a head") and "Chosen" not in said


def test_the_card_counts_copies_and_their_contradictions(shown: Shown, result: confounds.Result):
    assert figures.card(result, shown.names, 60)[4] == "No two texts are the same."
    copied = figures.card(replace(result, duplicates=45, contradictions=7), shown.names, 60)[4]
    assert copied.startswith("**45 of 60 texts repeat an earlier one**")
    assert "7 texts stand under more than one label" in copied
    assert "label" not in figures.card(replace(result, duplicates=45), shown.names, 60)[4]
