"""Linear probe curves beside their baselines, and checkpoint x layer."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.analyses import linear_probes
from backend.figures import linear_probes as figures
from tests.fakes import FakeModels, fake_lab, fake_study


@pytest.fixture(scope="module", params=[2, 3])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, epochs=1, reviews=36, classes=request.param)
    folder: Path = tmp_path_factory.mktemp("probes")
    lab = fake_lab(folder, models)
    return request.param, [linear_probes.recipe(query, lab) for query in linear_probes.queries(study)]


@pytest.mark.parametrize("shown", figures.SHOWN)
def test_curves_stand_beside_what_they_must_beat(results, shown: figures.Shown):
    classes, found = results
    picture = figures.curves(found[1:], ["epoch 1"], [1], 2, classes, shown, "base")
    lines = {trace.name: trace for trace in picture.data if trace.name}
    np.testing.assert_allclose(lines["epoch 1"].y, 100 * getattr(found[1], shown).value, rtol=1e-5)
    np.testing.assert_allclose(lines["prompt length alone"].y, 100 * found[1].length_accuracy.value, rtol=1e-5)
    beside = {"shuffled labels, epoch 1", "mean token embedding, epoch 1"}
    assert (beside <= lines.keys()) == (shown == "accuracy")
    assert picture.layout.shapes[0].y0 == pytest.approx(100 / classes)


@pytest.mark.parametrize("shown", figures.SHOWN)
def test_the_heat_map_holds_each_checkpoints_curve_and_leaves_constant_layers_empty(results, shown: figures.Shown):
    classes, found = results
    heat = figures.heatmap(found, ["base", "epoch 1"], classes, shown, "base").data[0]
    assert [row[0] for row in heat.z] == [None, None]
    np.testing.assert_allclose(np.array(heat.z[1][1:], float), 100 * getattr(found[1], shown).value[1:], atol=1e-3)
    assert heat.zmid == pytest.approx(100 / classes)
