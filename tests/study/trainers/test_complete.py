"""Whether a checkpoint is still being written: weights cut short, shards or configs that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.study.trainers.complete import is_unfinished
from tests.study.trainers.weight_folders import WEIGHTS, saved

INDEX = json.dumps({"weight_map": {"w": "model-1-of-2.safetensors", "v": "model-2-of-2.safetensors"}})


@pytest.mark.parametrize(
    ("files", "unfinished"),
    [
        ({}, True),
        ({"config__json": "{}"}, True),
        ({"config__json": "{}", "model__safetensors": WEIGHTS}, False),
        ({"adapter_config__json": "{}", "adapter_model__safetensors": WEIGHTS}, False),
        ({"model__safetensors": WEIGHTS}, True),
        ({"config__json": "{}", "model__safetensors": WEIGHTS[:-1]}, True),
        ({"config__json": "{}", "model__safetensors": WEIGHTS[:20]}, True),
        ({"config__json": "{}", "model__safetensors": b""}, True),
        ({"config__json": "{}", "model-1_of_2__safetensors": WEIGHTS}, True),
        ({"config__json": "{}", "model-1_of_2__safetensors": WEIGHTS, "model__safetensors__index__json": INDEX}, True),
        ({"config__json": "{}", "model__safetensors__index__json": INDEX}, True),
        ({"config__json": "{}", "model__safetensors__index__json": INDEX[:9]}, True),
        (
            {
                "config__json": "{}",
                "model-1_of_2__safetensors": WEIGHTS,
                "model-2_of_2__safetensors": WEIGHTS,
                "model__safetensors__index__json": INDEX,
            },
            False,
        ),
        ({"config__json": "{}", "pytorch_model__bin": b"pickled"}, False),
        ({"config__json": "{}", "model__safetensors": b"version https://git-lfs.github.com/spec/v1"}, False),
        ({"config__json": "{}", "model__safetensors": b"x" * 64}, False),
    ],
)
def test_what_is_still_being_written(tmp_path: Path, files: dict[str, bytes | str], unfinished: bool):
    assert is_unfinished(saved(tmp_path / "checkpoint-1", **files)) is unfinished


def test_weights_further_inside_are_left_to_the_one_who_opens_them(tmp_path: Path):
    saved(tmp_path / "checkpoint-1" / "inner", model__safetensors=WEIGHTS)
    assert not is_unfinished(tmp_path / "checkpoint-1")


def test_a_file_that_grows_is_read_again(tmp_path: Path):
    folder = saved(tmp_path / "checkpoint-1", config__json="{}", model__safetensors=WEIGHTS[:-1])
    assert is_unfinished(folder)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    assert not is_unfinished(folder)
