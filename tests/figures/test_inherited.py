"""Shares and sizes of the blocks' change, drawn and in words."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses import inherited
from backend.figures import inherited as figures

UPDATES = np.random.default_rng(0).normal(size=(12, 3, 2, 2, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def result() -> inherited.Result:
    return inherited.inherited(UPDATES, np.arange(12) % 2, draws=50)


@pytest.mark.parametrize(("scope", "row"), [("change", 0), ("differences", 1)])
def test_the_numbers_are_drawn(result: inherited.Result, scope: str, row: int):
    lines = figures.shares(result, "epoch 1", scope).data
    assert [line.name for line in lines] == list(figures.SAID.values())
    np.testing.assert_allclose(lines[0].y, 100 * result.own_share.value[row], rtol=1e-5)
    np.testing.assert_allclose(sum(np.array(line.y) for line in lines), 100, rtol=1e-4)
    np.testing.assert_allclose(lines[1].y + lines[1].error_y.array, 100 * result.inherited_share.high[row], rtol=1e-4)
    sizes = figures.norms(result, "epoch 1", scope).data
    np.testing.assert_allclose(sizes[0].y, result.total[row], rtol=1e-5)


def test_the_sentence_weighs_blocks_by_their_change(result: inherited.Result):
    size = result.total[0] ** 2
    own = 100 * (result.own_share.value[0] * size).sum() / size.sum()
    said = figures.in_words(result, "epoch 1", "base", "change")
    assert f"{own:.0f} % is their own weights'" in said
