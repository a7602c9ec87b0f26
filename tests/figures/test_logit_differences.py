"""Bars of changed tokens, the table of topics, and a text with its KL."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import logit_differences
from backend.analyses.logit_differences import Query, Result, TextQuery
from backend.figures import logit_differences as figures
from backend.figures.style import theme
from tests.figures.conftest import Shown


@pytest.fixture(scope="module")
def asked(shown: Shown) -> Query:
    return replace(logit_differences.queries(shown.study)[1], topics=2, halvings=20)


@pytest.fixture(scope="module")
def result(asked: Query, shown: Shown) -> Result:
    return logit_differences.recipe(asked, shown.lab)


def test_bars_are_the_changes_and_grey_within_the_floor(result: Result):
    bars = figures.tokens(result, "likelier", "<b>").data[0]
    np.testing.assert_allclose(bars.x, 1e3 * result.change.value[:20], rtol=1e-4)
    assert set(bars.marker.color) == {theme.checkpoint_colour(1, 2)} and len(set(bars.y)) == 20
    rarer = figures.tokens(result, "rarer", "one").data[0]
    np.testing.assert_allclose(rarer.x, 1e3 * result.change.value[20:][::-1], rtol=1e-4)
    far = replace(result, change=replace(result.change, chance=np.full(40, 1.0)))
    assert set(figures.tokens(far, "rarer", "one").data[0].marker.color) == {theme.QUIET}


def test_topics_stand_with_share_and_passages(result: Result):
    rows = figures.topics(result, "likelier")
    assert len(rows) == 2 and rows[0].keys() == {"share", "found again", "tokens", "passages"}
    assert figures.stable(result) == [0, 1, 2, 3]


def test_the_answer_in_words(result: Result):
    said = figures.in_words(result, "one")
    assert (
        said.startswith("The predictions of **one** differ by ")
        and "became likelier" in said
        and "became rarer" in said
    )
    assert "topic" not in figures.in_words(replace(result, topics=()), "one")


def test_a_text_has_its_kl_below_each_token(asked: Query, shown: Shown):
    one = logit_differences.text(TextQuery(asked.differences, 2), shown.lab)
    picture = figures.text_kl(one, "one")
    cells = np.concatenate([np.array(trace.z, float).ravel() for trace in picture.data if trace.type == "heatmap"])
    np.testing.assert_allclose(cells[: len(one.kl)], one.kl, atol=1e-3)
