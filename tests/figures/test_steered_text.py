"""A typed text over the coefficient, the answer in words, and the table of what is written."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import steered_text
from backend.analyses.steered_text import Query, Result, Written, WrittenQuery
from backend.derived.steering_vectors import ALPHAS
from backend.figures import steered_text as figures
from backend.study.typed_texts import read_typed
from tests.figures.conftest import Shown

Pair = tuple[list[Result], list[Query]]


@pytest.fixture(scope="module")
def pair(shown: Shown) -> Pair:
    text = read_typed(shown.study.readers, "The script is funny.").prompts
    queries = [Query(one, one, text, shown.study.prompts, 9) for one in shown.study.checkpoints[:2]]
    return [steered_text.recipe(query, shown.lab) for query in queries], queries


def test_curves_are_the_lens_and_rings_mark_the_coefficient(pair: Pair, shown: Shown):
    picture = figures.coefficients(*pair, [0, 1], 3, shown.words, 2.0)
    first, ring = picture.data[:2]
    np.testing.assert_allclose(first.y, pair[0][0].logit_diff, rtol=1e-5)
    assert ring.y[0] == pytest.approx(pair[0][0].logit_diff[ALPHAS.index(2.0)])
    wanted = 1 if len(shown.words) == 2 else 0
    np.testing.assert_allclose(first.customdata[:, 1], 100 * pair[0][0].probability[:, wanted], rtol=1e-5)
    assert [one.name for one in picture.data[::2]] == ["base", "epoch 1"]
    assert "direction at layer 9" in picture.layout.title.text


def test_the_answer_in_words(pair: Pair, shown: Shown):
    result, query = pair[0][1], pair[1][1]
    said = figures.answer(result, query, shown.words, 8.0)
    best = int(result.probability[-1].argmax())
    assert said.endswith(f"“{shown.words[best]}” ({100 * result.probability[-1, best]:.1f} %) at α = 8.")
    nothing = replace(result, logit_diff=np.full_like(result.logit_diff, np.nan))
    assert "There is no direction at layer 9" in figures.answer(nothing, query, shown.words, 8.0)


@pytest.mark.parametrize(("first", "least"), [((8.0,), 8.0), ((-2.0, -4.0, 4.0), -2.0), ((), 1.0), ((2.0, -2.0), 2.0)])
def test_the_default_coefficient_is_the_smallest_that_changes_the_answer(
    pair: Pair, first: tuple[float, ...], least: float
):
    flipped = np.isin(ALPHAS, first)
    probability = np.stack([np.where(flipped, 0.8, 0.2), np.where(flipped, 0.2, 0.8)], axis=1)
    assert figures.least_flip(replace(pair[0][0], probability=probability), pair[1][0]) == least


def test_what_is_written_stands_by_model_coefficient_and_way(shown: Shown):
    one, prompts = shown.study.base, shown.study.prompts
    plain = WrittenQuery(one, one, prompts, prompts, 0, "all", 0, 0.0, None)
    asked = [plain, replace(plain, temperature=0.7, seed=3), replace(plain, alpha=-2.0)]
    rows = figures.written([Written("a\n b"), Written(""), Written("c")], asked)
    assert rows == [
        {"model": "base", "coefficient": "as it is", "greedy": "a b", "drawn at 0.7, seed 3": "(the text ends here)"},
        {"model": "base", "coefficient": "α = -2", "greedy": "c"},
    ]


def test_a_prompt_that_leaves_too_little_room_is_named(shown: Shown):
    one, prompts = shown.study.base, shown.study.prompts
    query = WrittenQuery(one, one, prompts, prompts, 0, "all", 0, 0.0, None)
    taken = len(prompts.seen_by(one).token_ids[0])
    assert figures.cut_short([replace(query, checkpoint=replace(one, facts=replace(one.facts, longest=None)))]) == ""
    for room, short in ((query.tokens, ""), (1, f"The prompt takes {taken} of the {taken} tokens that base reads")):
        facts = replace(one.facts, longest=taken + room - 1)
        said = figures.cut_short([query, replace(query, checkpoint=replace(one, facts=facts))])
        assert said.startswith(short) if short else not said
    assert "may be short" in said
