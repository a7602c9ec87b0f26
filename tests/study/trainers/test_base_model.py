"""The base of an output folder: source files, local folders, names on the hub, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.errors import StudyError
from backend.study.trainers.base_model import find_base


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Create an output folder with a checkpoint, and a base next to it."""
    for place in (tmp_path / "work" / "out" / "checkpoint-5", tmp_path / "models" / "base"):
        place.mkdir(parents=True)
        (place / "config.json").write_text("{}")
    return tmp_path / "work" / "out"


def base_of(out: Path) -> str:
    return find_base(out, [out / "checkpoint-5"]).base


def card(out: Path, head: str) -> None:
    (out / "README.md").write_text(f"---\n{head}\n---\n# Model")


def test_the_adapter_goes_before_the_config_the_arguments_and_the_card(out: Path) -> None:
    card(out, "base_model: a/card")
    assert base_of(out) == "a/card"
    (out / "train.yaml").write_text("model_name_or_path: an/argument\nother: [1")
    assert base_of(out) == "a/card", "a damaged file names nothing"
    (out / "train.yaml").write_text("model:\n  model_name_or_path: an/argument")
    assert base_of(out) == "an/argument"
    (out / "checkpoint-5" / "config.json").write_text(json.dumps({"_name_or_path": "a/config"}))
    assert base_of(out) == "a/config"
    (out / "checkpoint-5" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "an/adapter"}))
    assert base_of(out) == "an/adapter"


@pytest.mark.parametrize("name", ["../../models/base", "models/base", "./models/base", "../models/base"])
def test_a_path_is_looked_for_from_the_folder_and_those_above(out: Path, name: str) -> None:
    card(out, f"base_model:\n- {name}")
    assert base_of(out) == str(out.parents[1] / "models" / "base")


def test_a_path_is_looked_for_from_the_working_directory(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parents[1] / "models")
    card(out, "base_model: base")
    assert base_of(out) == str(out.parents[1] / "models" / "base")


def test_a_resumed_training_names_its_own_checkpoint(out: Path) -> None:
    (out / "checkpoint-5" / "config.json").write_text(json.dumps({"_name_or_path": "out/checkpoint-5"}))
    with pytest.raises(StudyError, match="names the base model; name the base with --base"):
        base_of(out)
    card(out, "base_model: gpt2")
    assert base_of(out) == "gpt2"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("license: mit", "names the base model"),
        ("base_model: 3", "names the base model"),
        ("base_model: [a/b, c/d]", r"names several bases \(a/b, c/d\)"),
        ("base_model: /nowhere/base", "/nowhere/base, which is not on this machine"),
        ("base_model: C:\\models\\base", "which is not on this machine"),
        ("base_model: unsloth/x-bnb-4bit", "plain weights, for example --base unsloth/x"),
        ("base_model: !!python/object:os.system x", "names the base model"),
    ],
)
def test_no_base_or_several_are_one_sentence(out: Path, head: str, message: str) -> None:
    card(out, head)
    with pytest.raises(StudyError, match=message) as caught:
        base_of(out)
    assert "--base" in str(caught.value)
