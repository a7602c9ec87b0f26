"""Curves over alpha, heat maps over blocks, the answer in words, and the table of what is written."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import scaling
from backend.analyses.scaling import Query, Result, Written, WrittenQuery
from backend.figures import scaling as figures
from backend.stats.estimate import undefined
from tests.figures.conftest import Shown


@pytest.fixture(scope="module")
def queries(shown: Shown) -> dict[str, Query]:
    return {one.part: replace(one, draws=20) for one in scaling.queries(shown.study)}


@pytest.fixture(scope="module")
def results(queries: dict[str, Query], shown: Shown) -> dict[str, Result]:
    return {part: scaling.recipe(queries[part], shown.lab) for part in ("all", "block")}


def test_a_curve_holds_the_numbers(results: dict[str, Result], queries: dict[str, Query]):
    picture = figures.curve(results["all"], queries["all"], "balanced_accuracy", "#123456")
    line = picture.data[-1]
    np.testing.assert_allclose(line.y, 100 * results["all"].balanced_accuracy.value[0], rtol=1e-5)
    assert list(line.x) == list(scaling.ALPHAS) and [one.x0 for one in picture.layout.shapes] == [0, 1]
    assert figures.curve(results["all"], queries["all"], "perplexity", "#123456").layout.yaxis.type == "log"


def test_blocks_are_a_heat_map(results: dict[str, Result], queries: dict[str, Query]):
    heat = figures.blocks(results["block"], queries["block"], "gap").data[0]
    np.testing.assert_allclose(np.array(heat.z, float), results["block"].gap.value.T, atol=1e-4)
    assert heat.y[0] == "-1"


def test_undefined_measures_are_left_out(results: dict[str, Result], queries: dict[str, Query]):
    assert figures.shown(results["all"]) == list(figures.NAMES)
    blind = replace(results["all"], gap=undefined(1, 9), balanced_accuracy=undefined(1, 9))
    assert figures.shown(blind) == ["perplexity", "kl"]
    assert "KL from the reference" in figures.in_words(blind, queries["all"], "one")
    assert "Perplexity on neutral texts" in figures.in_words(results["all"], queries["all"], "one")


def test_what_is_written_stands_by_model_and_way(shown: Shown):
    one = WrittenQuery(shown.study.base, shown.study.base, shown.study.prompts, "all", (), 0.0)
    asked = [one, replace(one, temperature=0.7, seed=3), replace(one, alpha=2.0)]
    rows = figures.written([Written("a\n b"), Written(""), Written("c")], asked, ["base", "base", "alpha 2"])
    assert rows == [
        {"model": "base", "greedy": "a b", "drawn at 0.7, seed 3": "(the text ends here)"},
        {"model": "alpha 2", "greedy": "c"},
    ]
