"""Training curves: the numbers of the log, chance, and the ends of epochs."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false, reportOptionalIterable=false
# (plotly makes the attributes of its figures at run time)
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.figures import training_log as figures
from backend.study.training_log import COLUMNS, LOG, TrainingLog, read_csv_log

TEXT = "10,0.5,2.5,0.001,,,,\n15,0.75,,,0.8,0.7,0.9,40\n20,1.0,2.0,0.002,,,,\n40,2.0,,,0.9,0.8,0.95,40\n"


@pytest.fixture
def log(tmp_path: Path) -> TrainingLog:
    (tmp_path / LOG).write_text(",".join(COLUMNS) + "\n" + TEXT)
    found = read_csv_log(tmp_path)
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
    first = replace(log, **{name: getattr(log, name)[:2] for name in (*COLUMNS, "held_out_loss")})
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
    log = read_csv_log(tmp_path)
    assert log is not None
    assert len(figures.accuracy(log, 2, []).data[-1].x) == 0


@pytest.fixture
def elsewhere(log: TrainingLog) -> TrainingLog:
    """What a Trainer logged: held-out loss and no accuracy, checkpoints saved at known steps."""
    nothing = np.full(4, np.nan)
    held_out = np.array([np.nan, 2.2, np.nan, 1.9])
    accuracy = {"held_out_accuracy": nothing, "held_out_low": nothing, "held_out_high": nothing}
    return replace(log, **accuracy, held_out_loss=held_out, saved=((20, "step 20"), (40, "final")))


def test_the_loss_of_held_out_texts_beside_that_of_training_texts(elsewhere: TrainingLog):
    assert list(figures.draw(elsewhere, 2, [])) == ["training-loss"]
    picture = figures.draw(elsewhere, 2, [])["training-loss"]
    assert [one.name for one in picture.data] == ["training texts", "held-out texts"]
    np.testing.assert_array_equal(picture.data[1].x, [15, 40])
    np.testing.assert_allclose(picture.data[1].y, [2.2, 1.9], rtol=1e-6)
    assert picture.layout.showlegend
    assert "Trust the loss of held-out texts" in figures.guide(elsewhere).beware


def test_checkpoints_stand_where_they_were_saved(elsewhere: TrainingLog):
    picture = figures.loss(elsewhere, ["wrong", "names"])
    assert [(shape.x0) for shape in picture.layout.shapes] == [20, 40]
    assert [one.text for one in picture.layout.annotations] == ["step 20", "final"]
    many = replace(elsewhere, saved=tuple((i, str(i)) for i in range(100)))
    assert [one.text for one in figures.loss(many, []).layout.annotations][-2:] == ["89", "99"]
    assert len(figures.loss(many, []).layout.shapes) == 100


def test_a_loss_below_zero_is_not_put_on_a_logarithmic_axis(elsewhere: TrainingLog):
    below = replace(elsewhere, loss=np.array([0.3, np.nan, -0.1, np.nan]))
    picture = figures.loss(below, [])
    assert picture.layout.yaxis.type != "log"
    assert "logarithmic" not in picture.layout.title.text


def test_what_was_not_measured_is_said(elsewhere: TrainingLog, log: TrainingLog):
    assert "Nothing was measured" in figures.guide(replace(elsewhere, held_out_loss=np.full(4, np.nan))).beware
    assert "Trust the held-out accuracy" in figures.guide(log).beware
    assert list(figures.draw(log, 2, [])) == ["training-accuracy", "training-loss"]
