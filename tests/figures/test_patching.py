"""Bands of patched residuals under the tokens, and the sentence about them."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from backend.analyses import patching
from backend.figures import patching as figures
from backend.study.typed_texts import Typed, read_typed
from tests.figures.conftest import Shown
from tests.figures.heatmaps import heats, matrix

TEXT = "The camera work drags, <b>loudly</b>, and the script is funny and humane. " * 2


@pytest.fixture
def typed(shown: Shown) -> Typed:
    return read_typed(shown.study.readers, TEXT)


@pytest.fixture
def both(shown: Shown, typed: Typed) -> list[patching.Result]:
    ends = shown.study.base, shown.study.checkpoints[2]
    queries = [patching.Query(host, donor, typed.prompts) for host, donor in (ends, ends[::-1])]
    return [patching.recipe(query, shown.lab) for query in queries]


@pytest.mark.parametrize("measure", get_args(figures.Measure))
def test_every_token_has_its_layers_in_both_directions(shown: Shown, typed: Typed, both, measure: figures.Measure):
    at = len(shown.words) - 2
    names = ["epoch 2 into base", "base into epoch 2"]
    picture = figures.draw(both, names, typed.pieces, measure, shown.words, at)
    there, back = (
        (one.fraction_recovered if measure == "fraction_recovered" else one.logit_diff - one.host)[:, :, at]
        for one in both
    )
    rows = matrix(heats(picture, "coloraxis"))
    layers = len(there)
    np.testing.assert_allclose(rows[:layers], there[::-1], atol=6e-5)
    assert np.isnan(rows[layers]).all()
    np.testing.assert_allclose(rows[layers + 1 :], back[::-1], atol=6e-5)
    axis = picture.layout.coloraxis
    assert axis.cmin == -axis.cmax
    assert axis.cmax >= 1 if measure == "fraction_recovered" else axis.cmax > 0
    assert list(picture.layout.yaxis.ticktext)[:2] == names


def test_hovering_says_lens_ends_and_share(shown: Shown, typed: Typed, both):
    picture = figures.draw(both[:1], ["epoch 2 into base"], typed.pieces, "moved", shown.words)
    said = heats(picture, "coloraxis")[0].text[0][2]  # the last layer is on top
    one = both[0]
    assert said == (
        f"The, layer 12<br>logit difference {one.logit_diff[-1, 2, 0]:.3g} "
        f"(host {one.host[0]:.3g}, donor {one.donor[0]:.3g}), "
        f"{100 * one.fraction_recovered[-1, 2, 0]:.0f} % of the way"
    )
    assert all("<b>" not in text for text in picture.data[-1].text)


def by_hand() -> patching.Result:
    fraction_recovered = np.array([[0.1, 0.8, 0.2], [0.0, 0.3, 0.6], [0.0, 0.1, 0.4], [0, 0, 0.9], [0, 0, 1]])[
        :, :, None
    ]
    return patching.Result(
        logit_diff=4 * fraction_recovered - 1,
        fraction_recovered=fraction_recovered,
        host=np.array([-1.0]),
        donor=np.array([3.0]),
    )


def test_the_sentence_names_token_and_layers():
    assert figures.in_words(by_hand(), ["The", " <film>", ":"], "base", "epoch 1", 2) == (
        "epoch 1 into base: at the readout position, half of the way is passed from layer 3 on. Of all other tokens, "
        "a single residual recovers at most 80 %, of “<film>” at layer 0."
    )
    one = replace(
        by_hand(), logit_diff=by_hand().logit_diff[:, 2:], fraction_recovered=by_hand().fraction_recovered[:, 2:]
    )
    assert figures.in_words(one, [":"], "base", "epoch 1", 0).endswith("passed from layer 3 on.")
    never = replace(by_hand(), fraction_recovered=0.4 * by_hand().fraction_recovered)
    assert "recovery never stays above half (at most 40 %). Of" in figures.in_words(never, ["a", "b", "c"], "x", "y", 2)
    first = replace(by_hand(), fraction_recovered=by_hand().fraction_recovered[:, ::-1])
    assert "80 %, of “a” at layer 0" in figures.in_words(first, ["[CLS]", "a", "b"], "base", "epoch 1", 0)


def test_nothing_to_place_is_said():
    nothing = replace(by_hand(), fraction_recovered=np.full((5, 3, 1), np.nan))
    said = figures.in_words(replace(nothing, donor=np.array([-0.95])), ["a", "b", "c"], "base", "epoch 1", 2)
    assert "have similar logit differences (-1.00 and -0.95 nats, less than 0.1 apart)" in said
    headless = replace(nothing, donor=np.array([np.nan]))
    assert "has no head, so recovery is undefined" in figures.in_words(headless, ["a", "b", "c"], "epoch 1", "base", 0)
    picture = figures.draw([headless], ["base into epoch 1"], ["a", " b", " c"], "moved", ("x", "y"))
    assert "donor no head" in heats(picture, "coloraxis")[0].text[0][0]


def test_a_text_of_256_tokens_and_48_layers_stays_in_bounds():
    values = np.random.default_rng(0).normal(size=(49, 256, 1))
    result = patching.Result(values, values, np.zeros(1), np.ones(1))
    picture = figures.draw(
        [result, result], ["a into b", "b into a"], [" words"] * 256, "fraction_recovered", ("x", "y")
    )
    assert picture.layout.height < 12_000
    assert picture.layout.coloraxis.cmax == figures.FARTHEST
