"""A bar per checkpoint, and its sentence."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np

from backend.analyses import unembedding
from backend.figures import unembedding as figures

RESULTS = [unembedding.Result(50, tied, 0.99, 0.1, size, 0.97) for tied, size in ((True, 0.01), (False, 0.25))]


def test_a_bar_per_checkpoint():
    (bar,) = figures.draw(RESULTS, ["epoch 1", "epoch 2"], [1, 2], 3, "base").data
    np.testing.assert_allclose(bar.x, [0.01, 0.25], rtol=1e-6)
    assert list(bar.text) == ["0.01", "0.25"]
    np.testing.assert_allclose(bar.customdata, [[0.99, 0.97]] * 2, rtol=1e-6)


def test_in_words():
    said = figures.in_words(RESULTS[0], "epoch 1", "base")
    assert "Over the 50 tokens that both have" in said and "which is the input embedding too," in said
    assert "cosine of 0.9900 with **base**'s" in said and "0.01 of the squared difference is left" in said
    assert "input embedding" not in figures.in_words(RESULTS[1], "epoch 1", "base")
