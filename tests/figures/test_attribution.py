"""Block x part, one scale for pictures side by side, and the largest parts in words."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import attribution
from backend.figures import attribution as figures
from backend.stats.estimate import Estimate
from tests.figures.conftest import Shown


@pytest.fixture
def results(shown: Shown) -> list[attribution.Result]:
    base = shown.study.base
    asked = [attribution.Query(one, base, shown.study.prompts, draws=20) for one in shown.study.checkpoints]
    return [attribution.recipe(query, shown.lab) for query in asked]


@pytest.mark.parametrize("measure", ["gap", "change"])
def test_every_head_and_mlp_is_in_its_cell(results: list[attribution.Result], measure: figures.Measure):
    result = results[2]
    heat = figures.heatmap(result, measure, "epoch 2", figures.reach(results, measure)).data[0]
    assert list(heat.x) == ["head 0", "head 1", "attn bias", "MLP"]
    cells = np.array(heat.z, dtype=float)
    for i, part in enumerate(result.part):
        if part in ("head", "mlp"):
            column = result.head[i] if part == "head" else 3
            assert cells[result.block[i], column] == pytest.approx(getattr(result, measure).value[i], abs=1e-4)
    assert heat.zmax == -heat.zmin >= np.abs(cells).max() - 1e-4


def test_a_bias_that_no_block_has_is_no_column(results: list[attribution.Result]):
    none = np.array([part != "attn_bias" for part in results[1].part])
    assert figures.grid(replace(results[1], gap=results[1].gap.map(lambda end: end * none)), "gap")[3] == [
        "head 0",
        "head 1",
        "MLP",
    ]


def test_the_largest_parts_are_named_with_their_interval(results: list[attribution.Result]):
    result = results[1]
    said = figures.in_words(result, "gap", "epoch 1")
    largest = int(np.abs(result.gap.value).argmax())
    assert f"{result.gap.value[largest]:+.2f} ({result.gap.low[largest]:+.2f}" in said
    assert f"of block {result.block[largest]}" in said
    embed = result.part.index("embed")
    added = f"{result.gap.value[embed]:+.2f} ({result.gap.low[embed]:+.2f} to {result.gap.high[embed]:+.2f})"
    assert ("the embedding" in said) and (added in said)


def test_later_tokens_of_the_words_are_named_but_no_cell():
    places: tuple[attribution.Place, ...] = (
        ("embed", -1, -1),
        ("head", 0, 0),
        ("mlp", 0, -1),
        ("later_tokens", -1, -1),
    )
    shares = np.ones((4, 4, 2)) * np.array([0.0, 1.0])
    shares[2:, 3, 1] = 1.5
    found = attribution.attribution(shares, shares, places, np.array([0, 0, 1, 1]), draws=20)
    assert "the words' later tokens +0.50" in figures.in_words(found, "gap", "epoch 1", count=1)
    assert "the words' later tokens add +0.50" in figures.in_words(
        replace(found, gap=found.gap.map(lambda end: end * np.array([1, 9, 9, 1]) + np.array([0, 1, 1, 0]))),
        "gap",
        "epoch 1",
        2,
    )
    assert figures.grid(found, "gap")[0].shape == (1, 3)


def test_nothing_is_written_without_a_sign_of_its_own(results: list[attribution.Result]):
    tiny = np.where(np.array(results[1].part) == "embed", -1e-4, 1.0)
    said = figures.in_words(replace(results[1], gap=Estimate(tiny, tiny, tiny)), "gap", "epoch 1")
    assert "-0.00" not in said and "the embedding adds +0.00" in said


def test_numbers_stand_in_the_cells_while_there_is_room(results: list[attribution.Result]):
    result = results[1]
    few = figures.heatmap(result, "gap", "", 1.0)
    assert few.layout.xaxis.tickangle == 0
    cells = {(x, y): text for one in few.data[1:] for x, y, text in zip(one.x, one.y, one.text, strict=True)}
    for y, row in enumerate(few.data[0].z):
        for x, value in zip(few.data[0].x, row, strict=True):
            assert cells.get((x, y), "") == ("" if abs(value) < 0.005 else f"{value:+.2f}")
    places: tuple[attribution.Place, ...] = tuple(("head", 0, head) for head in range(12))
    shares = np.ones((4, 12, 2))
    wide = attribution.attribution(shares, shares, places, np.array([0, 0, 1, 1]), draws=2)
    many = figures.heatmap(wide, "gap", "", 1.0)
    assert (len(many.data), many.layout.xaxis.tickangle) == (1, -60)
