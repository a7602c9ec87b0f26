"""Heat maps of cosines: symmetric scale, undefined cells empty."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

import numpy as np
import pytest

from backend.analyses import cosines
from backend.figures import cosines as figures
from tests.figures.conftest import Shown


@pytest.fixture
def result(shown: Shown) -> cosines.Result:
    return cosines.recipe(cosines.Query(shown.study.checkpoints, shown.study.prompts), shown.lab)


def test_layers_against_layers(shown: Shown, result: cosines.Result):
    heat = figures.between_layers(result, 2, "epoch 2").data[0]
    z = np.array(heat.z, dtype=float)
    np.testing.assert_allclose(z, result.between_layers[0, 2], atol=6e-5)
    assert (heat.zmin, heat.zmax) == (-1, 1)


def test_checkpoints_against_checkpoints_with_their_numbers(shown: Shown, result: cosines.Result):
    heat = figures.between_checkpoints(result, 12, shown.names).data[0]
    assert heat.text[0][0] == "1.00"
    assert list(heat.x) == list(heat.y) == shown.names


def test_a_layer_without_a_direction_has_empty_cells(shown: Shown, result: cosines.Result):
    heat = figures.between_checkpoints(result, 0, shown.names).data[0]
    assert all(cell is None for row in heat.z for cell in row)
    assert all(cell == "" for row in heat.text for cell in row)
