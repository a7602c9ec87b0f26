"""The training log, of finetune or of a Trainer, is read back; a damaged file is an error that names the line."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import LayershiftError
from backend.reports.export import csv_text
from backend.study.config import CheckpointRef, Study
from backend.study.trainers.state import STATE
from backend.study.training_log import COLUMNS, LOG, read_csv_log, read_training_log
from tests.fakes import fake_definition

HEADER = ",".join(COLUMNS) + "\n"
LINES = "10,0.5,2.5,0.001,,,,\n15,0.75,,,0.8,0.7,0.9,40\n20,1.0,2.0,0.002,,,,\n40,2.0,,,0.9,0.8,0.95,40\n"
SHIPPED = Path(__file__).parents[2] / "studies" / "demo"


def read(folder: Path, text: str):
    (folder / LOG).write_text(text)
    return read_csv_log(folder)


def test_loss_and_accuracy_by_step(tmp_path: Path):
    log = read(tmp_path, HEADER + LINES)
    assert log is not None
    np.testing.assert_array_equal(log.step, [10, 15, 20, 40])
    np.testing.assert_array_equal(log.loss, [2.5, np.nan, 2.0, np.nan])
    np.testing.assert_array_equal(log.held_out_accuracy, [np.nan, 0.8, np.nan, 0.9])
    np.testing.assert_array_equal(log.held_out_low, [np.nan, 0.7, np.nan, 0.8])
    np.testing.assert_array_equal(log.epoch_ends, [20, 40])


def test_rows_are_those_of_the_file(tmp_path: Path):
    log = read(tmp_path, HEADER + LINES)
    assert log is not None
    lines = list(csv.DictReader(csv_text(log.rows()).splitlines()))
    for ours, theirs in zip(lines, csv.DictReader((HEADER + LINES).splitlines()), strict=True):
        assert {k: float(v) for k, v in ours.items() if v} == {k: float(v) for k, v in theirs.items() if v}


def test_the_log_that_ships_with_the_demo():
    log = read_csv_log(SHIPPED)
    assert log is not None
    with (SHIPPED / LOG).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(log.step) == len(lines)
    assert log.step[-1] == int(lines[-1]["step"])
    assert np.nansum(log.loss) == pytest.approx(sum(float(line["loss"]) for line in lines if line["loss"]))
    assert len(log.epoch_ends) == 3


def test_no_file_or_nothing_in_it_yet(tmp_path: Path):
    assert read_csv_log(tmp_path) is None
    assert read_csv_log(tmp_path / "nowhere") is None
    assert read(tmp_path, "") is None
    assert read(tmp_path, HEADER) is None


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path, cut: int):
    whole = HEADER + LINES
    log = read(tmp_path, whole[:-cut])
    assert log is not None
    assert set(log.step) <= {10, 15, 20, 40}
    np.testing.assert_array_equal(log.step[:3], [10, 15, 20])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,loss\n1,2\n", "does not start with the columns step, epoch"),
        (HEADER + "1,0.1,x,,,,,\n", r'line 2: loss is "x", which is not a valid value'),
        (HEADER + LINES + ",3.0,1.0,,,,,\n", r'line 6: step is "", which'),
        (HEADER + "1.5,0.1,1,,,,,\n", r'line 2: step is "1.5"'),
        (HEADER + "1,nan,1,,,,,\n", r'line 2: epoch is "nan"'),
        (HEADER + "1,0.1,,,1.7,,,\n", r'line 2: held_out_accuracy is "1.7"'),
        (HEADER + "1,0.1,,,-0.7,,,\n", r'line 2: held_out_accuracy is "-0.7"'),
        (HEADER + "1,0.1\n" + LINES, "line 2 has 2 of 8 cells"),
        (HEADER + LINES + "30,1.5,1.0,,,,,\n", "line 6: step goes back to 30"),
        (HEADER + "\n" + LINES, "line 2 has 0 of 8 cells"),
    ],
)
def test_damage_is_one_sentence_that_says_what_to_do(tmp_path: Path, text: str, message: str):
    with pytest.raises(LayershiftError, match=message) as caught:
        read(tmp_path, text)
    assert str(caught.value).endswith("or train again with `python -m backend finetune`.")


def test_a_byte_order_mark_is_no_part_of_the_log(tmp_path: Path):
    (tmp_path / LOG).write_bytes((HEADER + LINES).encode("utf-8-sig"))
    log = read_csv_log(tmp_path)
    assert log is not None and log.step.tolist() == [10, 15, 20, 40]


def test_bytes_that_are_no_text(tmp_path: Path):
    (tmp_path / LOG).write_bytes(b"\xff\xfe\x00step")
    with pytest.raises(LayershiftError, match=r"training.csv cannot be read .*; move the file away"):
        read_csv_log(tmp_path)


def test_a_loss_that_diverged_is_empty(tmp_path: Path):
    log = read(tmp_path, HEADER + "1,0.1,nan,,,,,\n2,0.2,inf,,,,,\n")
    assert log is not None
    assert np.isnan(log.loss).all()


@given(text=st.text(max_size=200))
def test_any_text_is_a_log_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str):
    folder = tmp_path_factory.mktemp("log")
    (folder / LOG).write_bytes((HEADER + text).encode("utf-8", "surrogatepass"))
    with suppress(LayershiftError):
        read_csv_log(folder)


# A Trainer's log

HISTORY = [
    {"step": 5, "epoch": 0.5, "loss": 1.5, "learning_rate": 1e-3, "grad_norm": 2.0},
    {"step": 10, "epoch": 1.0, "loss": 1.25, "learning_rate": 5e-4},
    {"step": 10, "epoch": 1.0, "eval_loss": 1.4, "eval_runtime": 0.1},
    {"step": 20, "epoch": 2.0, "loss": 0.5, "learning_rate": 0.0},
    {"step": 20, "epoch": 2.0, "train_runtime": 9.0, "train_loss": 0.9},
]


def trained(folder: Path, *names: str) -> Study:
    """A study whose checkpoints were trained elsewhere, into `folder`/out."""
    study = fake_definition(folder / "film", epochs=len(names))
    places = [CheckpointRef(label=f"as {name}", path=str(folder / "out" / name)) for name in names]
    for place in places:
        Path(str(place.path)).mkdir(parents=True, exist_ok=True)
    return study.model_copy(update={"checkpoints": tuple(places)})


def log_of(place: Path, step: int, history: object = HISTORY) -> None:
    (place / STATE).write_text(json.dumps({"global_step": step, "epoch": step / 10, "log_history": history}))


def test_the_newest_state_beside_a_checkpoint_is_the_log(tmp_path: Path):
    study = trained(tmp_path, "checkpoint-10", "checkpoint-20")
    assert read_training_log(study) is None
    log_of(tmp_path / "out" / "checkpoint-10", 10, HISTORY[:2])
    log = read_training_log(study)
    assert log is not None
    np.testing.assert_array_equal(log.loss, [1.5, 1.25])
    log_of(tmp_path / "out" / "checkpoint-20", 20)
    log = read_training_log(study)
    assert log is not None
    np.testing.assert_array_equal(log.step, [5, 10, 10, 20])
    np.testing.assert_array_equal(log.epoch, [0.5, 1, 1, 2])
    np.testing.assert_array_equal(log.loss, [1.5, 1.25, np.nan, 0.5])
    np.testing.assert_array_equal(log.learning_rate, [1e-3, 5e-4, np.nan, 0])
    np.testing.assert_array_equal(log.held_out_loss, [np.nan, np.nan, 1.4, np.nan])
    assert log.saved == ((10, "as checkpoint-10"), (20, "as checkpoint-20"))
    assert log.rows()[2] == {"step": 10, "epoch": 1.0, "loss": None, "learning_rate": None, "held_out_loss": 1.4}


def test_the_state_in_the_folder_above_is_that_of_the_end(tmp_path: Path):
    study = trained(tmp_path, "checkpoint-10")
    log_of(tmp_path / "out" / "checkpoint-10", 10, HISTORY[:1])
    log_of(tmp_path / "out", 20)
    log = read_training_log(study)
    assert log is not None
    assert log.step[-1] == 20
    assert log.saved == ((10, "as checkpoint-10"),)


def test_what_finetune_wrote_goes_first(tmp_path: Path):
    study = trained(tmp_path, "checkpoint-10")
    log_of(tmp_path / "out" / "checkpoint-10", 10)
    study.folder.mkdir()
    (study.folder / LOG).write_text(HEADER + LINES)
    log = read_training_log(study)
    assert log is not None
    assert (log.saved, log.step[-1]) == (((10, "as checkpoint-10"),), 40)
    assert "held_out_loss" not in log.rows()[0]


def test_a_log_without_losses_is_no_log(tmp_path: Path):
    study = trained(tmp_path, "checkpoint-10")
    log_of(tmp_path / "out" / "checkpoint-10", 10, [{"step": 10, "train_runtime": 1.0}])
    assert read_training_log(study) is None
    assert read_training_log(study.model_copy(update={"checkpoints": (CheckpointRef(label="a", repo="b/c"),)})) is None


def test_a_trainer_that_diverged_logged_no_number(tmp_path: Path):
    study = trained(tmp_path, "checkpoint-10")
    log_of(tmp_path / "out" / "checkpoint-10", 10, [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1e999}])
    log = read_training_log(study)
    assert log is not None
    assert np.isnan(log.loss).all()
    assert np.isnan(log.epoch).all()


@pytest.mark.parametrize(
    "entry",
    [
        {"loss": 1.0},
        {"step": "a", "loss": 1.0},
        {"step": -1, "loss": 1.0},
        {"step": 1, "loss": "1.0"},
        {"step": 1, "loss": [1]},
    ],
)
def test_an_entry_that_is_no_number_is_one_sentence(tmp_path: Path, entry: dict[str, object]):
    study = trained(tmp_path, "checkpoint-10")
    log_of(tmp_path / "out" / "checkpoint-10", 10, [entry])
    with pytest.raises(LayershiftError, match=r"10/trainer_state.json is damaged .an entry of log_history"):
        read_training_log(study)


def test_a_damaged_state_is_one_sentence_unless_the_one_above_is_whole(tmp_path: Path):
    study = trained(tmp_path, "checkpoint-10")
    (tmp_path / "out" / "checkpoint-10" / STATE).write_text('{"global_step":')
    with pytest.raises(LayershiftError, match="cannot be read as JSON"):
        read_training_log(study)
    log_of(tmp_path / "out", 20)
    assert read_training_log(study) is not None
