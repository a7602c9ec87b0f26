"""Training curves: the numbers of the log, chance, and the ends of epochs."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.figures import training_log as figures
from backend.training_log import COLUMNS, LOG, TrainingLog, read_training_log

TEXT = "10,0.5,2.5,0.001,,,,\n15,0.75,,,0.8,0.7,0.9,40\n20,1.0,2.0,0.002,,,,\n40,2.0,,,0.9,0.8,0.95,40\n"


@pytest.fixture
def log(tmp_path: Path) -> TrainingLog:
    (tmp_path / LOG).write_text(",".join(COLUMNS) + "\n" + TEXT)
    found = read_training_log(tmp_path)
    assert found is not None
    return found


def test_accuracy_with_its_interval_and_chance(log: TrainingLog):
    picture = figures.accuracy(log, 4, ["epoch 1", "epoch 2"])
    band, line = picture.data
    np.testing.assert_allclose(line.x, [15, 40])
    np.testing.assert_allclose(line.y, [80, 90])
    np.testing.assert_allclose(band.y, [90, 95, 80, 70])
    assert "40 held-out texts" in picture.layout.title.text
    assert picture.layout.annotations[-1].text == "chance 25 %"
    assert picture.layout.shapes[-1].y0 == 25


def test_a_single_point_has_its_interval_too(log: TrainingLog):
    first = replace(log, **{name: getattr(log, name)[:2] for name in COLUMNS})
    line = figures.accuracy(first, 2, []).data[-1]
    assert line.error_y.visible and not figures.accuracy(log, 2, []).data[-1].error_y.visible
    np.testing.assert_allclose([line.error_y.array, line.error_y.arrayminus], [[10], [10]])


def test_loss_is_logarithmic(log: TrainingLog):
    picture = figures.loss(log, [])
    np.testing.assert_allclose(picture.data[0].y, [2.5, 2.0])
    assert picture.layout.yaxis.type == "log"


def test_the_ends_of_epochs_have_the_names_of_their_checkpoints(log: TrainingLog):
    picture = figures.loss(log, ["first"])
    assert [shape.x0 for shape in picture.layout.shapes] == [20, 40]
    assert [one.text for one in picture.layout.annotations] == ["first", "end of epoch 2"]


def test_a_log_without_tests(tmp_path: Path):
    (tmp_path / LOG).write_text(",".join(COLUMNS) + "\n1,0.1,2.0,0.1,,,,\n")
    log = read_training_log(tmp_path)
    assert log is not None
    assert len(figures.accuracy(log, 2, []).data[-1].x) == 0
