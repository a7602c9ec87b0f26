"""The heat map of weight changes: every number in its cell, outside apart, colours that compare checkpoints."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import weights
from backend.figures import weights as figures
from backend.lab.outputs import WeightChange
from tests.figures.conftest import Shown

NAN = float("nan")


def made(*values: tuple[int | None, str, float, float]) -> weights.Result:
    return weights.tabulate(tuple(WeightChange(name, layer, name, *pair) for layer, name, *pair in values))


@pytest.fixture
def results(shown: Shown) -> list[weights.Result]:
    return [weights.recipe(query, shown.lab) for query in weights.queries(shown.study)]


def test_every_matrix_is_in_its_cell_and_the_rest_apart(results: list[weights.Result]):
    picture = figures.draw(results[0], "epoch 1", "change")
    inside, outside = picture.data[:2]
    np.testing.assert_allclose(inside.z, [[layer + 1 for layer in range(12)]] * 2)
    assert list(inside.y) == ["attn.c_attn", "mlp.c_fc"]
    assert list(outside.x) == ["wte", "wpe"]
    np.testing.assert_allclose(outside.z, [[1, 1]])
    assert picture.layout.title.text == "epoch 1"


def test_stable_rank_is_the_other_scale(results: list[weights.Result]):
    picture = figures.draw(results[0], "epoch 1", "rank")
    np.testing.assert_allclose(picture.data[0].z[1], [1.5 + layer for layer in range(12)])


def test_colours_are_the_same_for_all_checkpoints(results: list[weights.Result]):
    first, last = (figures.draw(one, "", "change", results).layout.coloraxis for one in results)
    assert (first.cmin, first.cmax) == (last.cmin, last.cmax)
    assert first.cmax == pytest.approx(24)


def test_changes_of_several_sizes_are_coloured_by_their_logarithm():
    result = made((None, "lm_head.weight", 1.0, 9.0), (0, "a.weight", 0.001, 1.0), (1, "a.weight", 0.0, NAN))
    picture = figures.draw(result, "", "change")
    inside, outside = picture.data[:2]
    assert inside.z[0][0] == pytest.approx(np.log10(0.1))
    assert inside.z[0][1] is None, "zero has no logarithm"
    assert inside.customdata[0][1] == "0 %", "but a hover"
    assert outside.z[0][0] == pytest.approx(2)
    axis = picture.layout.coloraxis
    assert (axis.cmin, axis.cmax) == pytest.approx((-1, 2))
    assert dict(zip(axis.colorbar.tickvals, axis.colorbar.ticktext, strict=True))[0] == "1"


@pytest.mark.parametrize(("value", "text"), [(0.0004, "0.04"), (0.0123, "1.2"), (0.996, "100"), (12.34, "1234")])
def test_numbers_in_cells_are_short(value: float, text: str):
    assert figures.draw(made((0, "a.weight", value, 1.0)), "", "change").data[0].text[0][0] == text


def test_nothing_changed():
    picture = figures.draw(made((0, "a.weight", 0.0, NAN)), "", "rank")
    assert [list(row) for row in picture.data[0].z] == [[None]]
    assert picture.data[0].customdata[0][0] == "undefined"
    untouched = figures.draw(made((0, "a.weight", 0.0, NAN)), "", "change").data[0]
    assert [list(row) for row in untouched.z] == [[0.0]]


def test_a_llama_reads_well():
    result = made((None, "model.embed_tokens.weight", 0.1, 2.0), (0, "self_attn.q_proj.weight", 0.2, 3.0))
    inside, outside = figures.draw(result, "", "change").data[:2]
    assert list(inside.y) == ["self_attn.q_proj"]
    assert list(outside.x) == ["embed_tokens"]


def test_an_encoder_reads_well():
    outside = ("bert.embeddings.word_embeddings.weight", "bert.pooler.dense.weight", "classifier.weight")
    inside = (0, "attention.self.query.weight", 0.2, 3.0)
    picture = figures.draw(made(*((None, name, 0.1, 2.0) for name in outside), inside), "", "change")
    assert list(picture.data[1].x) == ["word_embeddings", "pooler.dense", "classifier"]
    assert list(picture.data[0].y) == ["attention.self.query"]


def test_whether_anything_changed_in_words():
    same = made((None, "wte", 0.0, 1.0), (0, "a", 0.0, 1.0))
    assert "all 2 matrices are equal" in figures.in_words(same, "one", "base")
    norms = figures.in_words(replace(same, vectors_changed=3), "one", "base")
    assert norms == "All 2 matrices of **one** are equal to **base**'s. Training changed 3 of its norms and biases."
    some = made((None, "wte", 0.0, 1.0), (0, "a", 0.25, 1.0))
    said = figures.in_words(some, "one", "base")
    assert said.startswith("1 of 2 matrices of **one** differ from **base**. `a` of block 0 changed most, by 25 %")
    assert said.endswith("Equal: `wte`.")
