"""The training log: what finetune writes is read back; a damaged file is one sentence that names the line."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import LayershiftError
from backend.reports.export import csv_text
from backend.training_log import COLUMNS, LOG, read_training_log

HEADER = ",".join(COLUMNS) + "\n"
LINES = "10,0.5,2.5,0.001,,,,\n15,0.75,,,0.8,0.7,0.9,40\n20,1.0,2.0,0.002,,,,\n40,2.0,,,0.9,0.8,0.95,40\n"
SHIPPED = Path(__file__).parents[1] / "studies" / "demo"


def read(folder: Path, text: str):
    (folder / LOG).write_text(text)
    return read_training_log(folder)


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
    log = read_training_log(SHIPPED)
    assert log is not None
    with (SHIPPED / LOG).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(log.step) == len(lines)
    assert log.step[-1] == int(lines[-1]["step"])
    assert np.nansum(log.loss) == pytest.approx(sum(float(line["loss"]) for line in lines if line["loss"]))
    assert len(log.epoch_ends) == 3


def test_no_file_or_nothing_in_it_yet(tmp_path: Path):
    assert read_training_log(tmp_path) is None
    assert read_training_log(tmp_path / "nowhere") is None
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
    ("text", "said"),
    [
        ("step,loss\n1,2\n", "does not begin with the columns step, epoch"),
        (HEADER + "1,0.1,x,,,,,\n", r'line 2: loss is "x", which is no such number'),
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
def test_damage_is_one_sentence_that_says_what_to_do(tmp_path: Path, text: str, said: str):
    with pytest.raises(LayershiftError, match=said) as caught:
        read(tmp_path, text)
    assert str(caught.value).endswith("or train again with `python -m backend finetune`.")


def test_a_byte_order_mark_is_no_part_of_the_log(tmp_path: Path):
    (tmp_path / LOG).write_bytes((HEADER + LINES).encode("utf-8-sig"))
    log = read_training_log(tmp_path)
    assert log is not None and log.step.tolist() == [10, 15, 20, 40]


def test_bytes_that_are_no_text(tmp_path: Path):
    (tmp_path / LOG).write_bytes(b"\xff\xfe\x00step")
    with pytest.raises(LayershiftError, match=r"training.csv cannot be read .*; move the file away"):
        read_training_log(tmp_path)


def test_a_loss_that_diverged_is_empty(tmp_path: Path):
    log = read(tmp_path, HEADER + "1,0.1,nan,,,,,\n2,0.2,inf,,,,,\n")
    assert log is not None
    assert np.isnan(log.loss).all()


@given(text=st.text(max_size=200))
def test_any_text_is_a_log_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str):
    folder = tmp_path_factory.mktemp("log")
    (folder / LOG).write_bytes((HEADER + text).encode("utf-8", "surrogatepass"))
    with suppress(LayershiftError):
        read_training_log(folder)
