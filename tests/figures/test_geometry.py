"""Curves of rank correlation and of Gromov-Wasserstein."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace

import numpy as np

from backend.analyses import geometry
from backend.figures import geometry as figures
from tests.figures.conftest import Shown


def test_the_numbers_are_drawn(shown: Shown):
    asked = [replace(one, permutations=5, most=20) for one in geometry.queries(shown.study)]
    results = [geometry.recipe(query, shown.lab) for query in asked]
    names = ["epoch 1", "epoch 2"]
    lines = {line.name: line for line in figures.rank_correlations(results, names, [1, 2], 3, "base").data if line.name}
    np.testing.assert_allclose(lines["epoch 1"].y, results[0].rank_correlation.value, rtol=1e-5)
    level = results[1].rank_correlation.chance
    assert level is not None
    np.testing.assert_allclose(lines["chance, epoch 2"].y, level, rtol=1e-5)
    lines = figures.gromov_wasserstein(results, names, [1, 2], 3, "base").data
    expected = results[1].gromov_wasserstein[1:] / results[1].unmatched[1:]
    np.testing.assert_allclose(lines[1].y[1:], expected, rtol=1e-5)
    assert np.isnan(lines[1].y[0])
