"""The step of a checkpoint from trainer_state.json and from folder names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import LayershiftError
from backend.study.trainers.state import STATE, numbers, read_state, step_of


def write(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).write_text(json.dumps(values))
    return folder


def test_a_state_of_todays_trainer(tmp_path: Path):
    state = read_state(write(tmp_path, global_step=12, epoch=1.5, best_global_step=8, log_history=[{"step": 1}]))
    assert state is not None
    assert (state.step, state.epoch, state.best, state.history) == (12, 1.5, 8, ({"step": 1},))


@pytest.mark.parametrize("named", ["out/checkpoint-8", "/data/out/checkpoint-8/", "C:\\out\\checkpoint-8"])
def test_an_older_trainer_names_the_best_by_its_folder(tmp_path: Path, named: str):
    state = read_state(write(tmp_path, global_step=12, best_model_checkpoint=named, log_history=None))
    assert state is not None
    assert (state.best, state.epoch, state.history) == (8, None, ())


def test_a_mark_of_windows_before_the_text(tmp_path: Path):
    (tmp_path / STATE).write_text('\ufeff{"global_step": 3}')
    state = read_state(tmp_path)
    assert state is not None
    assert state.step == 3


def test_no_file_is_no_state(tmp_path: Path):
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ('{"global_step": 3', "cannot be read as JSON"),
        ("[1]", "is not a JSON object"),
        ("{}", "global_step is null"),
        ('{"global_step": "3"}', 'global_step is "3"'),
        ('{"global_step": -1}', "global_step is -1"),
        ('{"global_step": true}', "global_step is true"),
        ('{"global_step": 3, "log_history": {"a": 1}}', "log_history is not a list"),
        ('{"global_step": 3, "log_history": [1]}', "log_history is not a list of objects"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_damage_is_one_sentence(tmp_path: Path, text: str, message: str):
    (tmp_path / STATE).write_text(text)
    with pytest.raises(LayershiftError, match=message) as caught:
        read_state(tmp_path)
    assert str(caught.value).endswith("copy it again or move it away.")
    assert "\n" not in str(caught.value)


def test_a_state_that_is_written_anew_is_read_anew(tmp_path: Path):
    for step in (1, 22):
        state = read_state(write(tmp_path, global_step=step))
        assert state is not None
        assert state.step == step


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("checkpoint-500", [("step", 500)]),
        ("checkpoint_500", [("step", 500)]),
        ("step-100", [("step", 100)]),
        ("global_step_12", [("step", 12)]),
        ("global_step500", [("step", 500)]),
        ("epoch_1", [("epoch", 1)]),
        ("Epoch-2", [("epoch", 2)]),
        ("iter_0000100", [("step", 100)]),
        ("epoch_1-step_200", [("epoch", 1), ("step", 200)]),
        ("checkpoint-epoch-3", [("epoch", 3)]),
        ("1000", [("step", 1000)]),
        ("llama-3", []),
        ("sweep-3", []),
        ("run_epoch_4", [("epoch", 4)]),
        ("merged_16bit", []),
        ("checkpoint-best", []),
        ("epoch-0.5", []),
        ("step-10.25", []),
        ("checkpoint-20.bak", [("step", 20)]),
        ("", []),
    ],
)
def test_what_a_name_states(name: str, steps: list[tuple[str, int]]):
    assert list(numbers(name)) == steps


@given(st.text(max_size=30))
def test_any_name_can_be_read(name: str):
    assert all(number >= 0 for _, number in numbers(name))


def test_the_step_of_a_checkpoint(tmp_path: Path):
    assert step_of(tmp_path / "checkpoint-5") == 5
    assert step_of(tmp_path / "epoch-5") is None
    assert step_of(write(tmp_path / "epoch-1", global_step=40)) == 40
    assert step_of(write(tmp_path / "checkpoint-best", global_step=8)) == 8
    write(tmp_path / "checkpoint-9", global_step=9)
    assert step_of(tmp_path / "checkpoint-9" / "an-adapter") == 9
    write(tmp_path, global_step=99)
    assert step_of(tmp_path / "merged") is None, "the state above is that of the end of training"
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / STATE).write_text("{")
    assert step_of(tmp_path / "checkpoint-5") == 5
