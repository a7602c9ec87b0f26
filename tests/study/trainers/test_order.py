"""Named checkpoints in the order of training: numbers, the best by its step, the last at the end, no duplicates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StudyError
from backend.study.trainers.order import named, same_weights
from backend.study.trainers.state import STATE


def put(place: Path, weights: str | None = None, **state: Any) -> Path:
    place.mkdir(parents=True)
    (place / "model.safetensors").write_text(str(place) if weights is None else weights)
    if state:
        (place / STATE).write_text(json.dumps(state))
    return place


def labels(out: Path, pattern: str = "*") -> list[str]:
    return [first.label for first in named((str(out / pattern),)).checkpoints]


def test_numbers_and_not_letters(tmp_path: Path) -> None:
    for step in (500, 1000, 90):
        put(tmp_path / f"checkpoint-{step}")
    assert labels(tmp_path) == ["checkpoint-90", "checkpoint-500", "checkpoint-1000"]


@pytest.mark.parametrize(
    ("own", "siblings"),
    [({"global_step": 700}, {}), ({}, {"best_global_step": 700}), ({}, {"best_model_checkpoint": "o/c-700"})],
)
def test_the_best_stands_at_its_step(tmp_path: Path, own: dict[str, Any], siblings: dict[str, Any]) -> None:
    put(tmp_path / "checkpoint-500", global_step=500, **siblings)
    put(tmp_path / "checkpoint-1000", global_step=1000, **siblings)
    put(tmp_path / "checkpoint-best", **own)
    assert labels(tmp_path) == ["checkpoint-500", "checkpoint-best", "checkpoint-1000"]


def test_a_best_of_unknown_step_is_left_out_and_a_copy_too(tmp_path: Path) -> None:
    put(tmp_path / "checkpoint-500")
    put(tmp_path / "checkpoint-1000", "same")
    put(tmp_path / "checkpoint-best")
    put(tmp_path / "best", "same")
    training = named((str(tmp_path / "*"),))
    assert [first.label for first in training.checkpoints] == ["checkpoint-500", "checkpoint-1000"]
    assert training.notes == (
        "left out best: it has the weights of checkpoint-1000.",
        "left out checkpoint-best: the step of its save is unknown; name the checkpoints with --checkpoints.",
    )


def test_the_best_alone_is_a_checkpoint(tmp_path: Path) -> None:
    put(tmp_path / "checkpoint-best")
    assert labels(tmp_path) == ["checkpoint-best"]


def test_the_last_stands_behind(tmp_path: Path) -> None:
    for name in ("final", "checkpoint-1000", "last"):
        put(tmp_path / name, "same" if name != "checkpoint-1000" else None)
    assert labels(tmp_path) == ["checkpoint-1000", "final"]


def test_equal_names_are_told_apart_by_the_folders_above(tmp_path: Path) -> None:
    for step in (9, 10):
        put(tmp_path / f"global_step_{step}" / "actor" / "huggingface")
    assert labels(tmp_path, "global_step_*/actor/huggingface") == ["global_step_9", "global_step_10"]


def test_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="No directory matches"):
        named((str(tmp_path / "*"),))


def test_weights_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a", "w" * 100), put(tmp_path / "b", "w" * 100)
    assert same_weights(first, second)
    assert not same_weights(first, put(tmp_path / "c", "w" * 99 + "x"))
    (second / "more.safetensors").write_text("")
    assert not same_weights(first, second)
    (tmp_path / "empty").mkdir()
    assert not same_weights(tmp_path / "empty", tmp_path / "empty")
