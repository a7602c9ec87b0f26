"""The picture of KL over the coefficient, and its words."""

# pyright: reportAttributeAccessIssue=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import steered_predictions
from backend.figures import steered_predictions as figures
from tests.fakes import FakeModels, fake_lab, fake_study

Both = tuple[list[steered_predictions.Result], list[steered_predictions.Query]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24, kind="contrast")
    lab = fake_lab(Path(tmp_path_factory.mktemp("steered")), models)
    queries = [replace(one, null=2, draws=20) for one in steered_predictions.queries(study)]
    return [steered_predictions.recipe(query, lab) for query in queries], queries


def test_a_line_per_model_over_those_of_permuted_directions(both: Both):
    results, queries = both
    drawn = figures.draw(results, queries, [0, 3], 4).data
    assert [line.name for line in drawn].count("permuted directions") == 4
    np.testing.assert_allclose(drawn[-1].y, results[1].kl_from_plain.value, rtol=1e-6)
    assert drawn[-1].name == "epoch 3" and list(drawn[-1].x) == list(queries[1].alphas)


def test_words(both: Both):
    results, queries = both
    said = figures.in_words(results[0], queries[0], "base")
    assert said.startswith("At α = 4 the predictions of base change by ") and "permuted directions" in said
    nothing = replace(results[0], kl_from_plain=results[0].kl_from_plain.map(lambda end: end * np.nan))
    assert "no direction to add" in figures.in_words(nothing, queries[0], "base")
