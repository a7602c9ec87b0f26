"""The quality of an autoencoder in a table, and its training as curves."""

# pyright: reportAttributeAccessIssue=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from typing import Any

import pytest

from backend.analyses import features
from backend.figures import autoencoder_quality as figures
from tests.fakes import FakeModels, fake_lab, fake_study

NAMES = ["base", "epoch <3>"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> features.Result:
    """Reference and last epoch of a fake study."""
    models = FakeModels(layers=4, width=16)
    (query,) = features.queries(fake_study(models=models))
    return features.recipe(query, fake_lab(tmp_path_factory.mktemp("cache"), models))


def test_a_row_for_each_model(result: features.Result):
    rows = figures.table(result, NAMES)
    assert [row["model"] for row in rows] == NAMES
    assert rows[0]["loss recovered"] == "80.0 %"


def test_training_is_three_lines(result: features.Result):
    drawn = figures.training(result.step, result.training_loss, result.training_variance, result.training_dead)
    lines: Any = drawn.data
    assert [len(one.x) for one in lines] == [10, 10, 10]
