"""The longest prompt of a new study: what the models have positions for, where the user leaves it open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from backend.__main__ import main
from backend.study.config import load_study
from tests.tiny import tiny_study

LONG = "The script drags from the first minute and never finds a reason to exist. " * 12
POSITIONS = 64
"""Those of the tiny models."""


def folder(root: Path, family: str) -> Path:
    """A study of a family with texts longer than its models read."""
    place = tiny_study(root / family, (1, 2), family)
    reviews = pd.read_csv(place / "reviews.csv")
    reviews.assign(text=[f"{LONG} {text}" for text in reviews.text]).to_csv(place / "reviews.csv", index=False)
    return place


def new(place: Path, *more: str) -> int:
    models = ["--base", str(place / "base"), "--checkpoints", str(place / "checkpoints" / "epoch-*")]
    return main(["new", "mine", *models, "--data", str(place / "reviews.csv"), "--sample", "20", *more])


def chosen(root: Path) -> int:
    return load_study(root / "studies" / "mine").prompt.max_tokens


@pytest.mark.parametrize(
    ("family", "more", "most"),
    [
        ("gpt2", [], POSITIONS),
        ("gpt2", ["--label-words", "negative spam,positive", "--separator", " "], POSITIONS - 1),
        ("gpt2", ["--label-words", "negative spam mixed,positive", "--separator", " spam "], POSITIONS - 2),
        ("gpt2", ["--kind", "contrast"], POSITIONS),
        ("gpt2-classifier", [], POSITIONS),
        ("bert", [], POSITIONS),
    ],
)
def test_an_open_length_fits_the_models(
    root: Path, capsys: pytest.CaptureFixture[str], family: str, more: list[str], most: int
) -> None:
    place = folder(root, family)
    assert new(place, *more) == 0, capsys.readouterr().err
    assert chosen(root) == most
    said = [line for line in capsys.readouterr().out.splitlines() if "max_tokens" in line]
    words = ", label words included" if most < POSITIONS else ""
    assert said == [f"max_tokens   {most}, because {place / 'base'} reads at most {POSITIONS} tokens{words}"]
    assert main(["export", "mine", "--out", str(root / "out"), "--only", "similarity"]) == 0
    ids = [len(json.loads(line)["token_ids"]) for line in (root / "out" / "sample.jsonl").read_text().splitlines()]
    assert most - 1 <= max(ids) <= most, "texts are cut to what is left"


def test_the_shortest_checkpoint_counts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(root, "llama")
    assert new(place) == 0, capsys.readouterr().err
    assert chosen(root) == 256, "angles of every position are computed"
    assert "max_tokens" not in capsys.readouterr().out
    shutil.rmtree(root / "studies" / "mine")
    file = place / "checkpoints" / "epoch-2" / "config.json"
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rope_parameters": rope}))
    assert new(place) == 0, capsys.readouterr().err
    assert chosen(root) == POSITIONS
    assert f"because {place / 'checkpoints' / 'epoch-2'} reads at most 64 tokens" in capsys.readouterr().out


def test_a_given_length_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(root, "gpt2")
    assert new(place, "--max-tokens", "100") == 2
    assert "has 64 positions; lower prompt.max_tokens to at most 64." in capsys.readouterr().err
    assert not (root / "studies" / "mine").exists()
    assert new(place, "--max-tokens", "40") == 0
    assert chosen(root) == 40


@pytest.mark.parametrize("base", ["", "<s> "])
def test_a_chat_leaves_room_for_the_answer(root: Path, capsys: pytest.CaptureFixture[str], base: str) -> None:
    place = folder(root, "gpt2")
    for model in (place / "base", *(place / "checkpoints").iterdir()):
        (model / "chat_template.jinja").write_text(
            base + "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}Answer:{% endif %}"
        )
    words = ["--label-words", "negative spam,positive", "--separator", " "]
    assert new(place, "--chat", *words) == 0, capsys.readouterr().err
    assert chosen(root) == POSITIONS - 1
