"""What is compared, in words: ages, places, checkpoints that are not there."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.analyses import accuracy
from backend.reports import summary
from backend.study.comparison import Comparison
from backend.study.config import CheckpointRef, TrainingSpec, load_study
from backend.study.kinds import Kind
from backend.study.pinned import Missing
from tests.fakes import fake_definition, fake_lab, fake_study

NOW = 1_700_000_000.0


def test_everything_that_is_compared_is_named(tmp_path: Path) -> None:
    study, lab = fake_study(tmp_path, reviews=60), fake_lab(tmp_path)
    found = summary.compared(study, lab, NOW)
    assert found["model"].startswith("GPT2LMHeadModel, 12 blocks, width 32, 0.147 million")
    assert found["texts"] == "60 of reviews.csv, 30 of each class, drawn with seed 0"
    assert found["prompt"] == study.study.prompt.template
    assert found["answers"] == "negative, positive"
    assert found["cut"].startswith(f"{study.prompts.truncated.sum()} texts")
    assert (found["computed"], found["device"]) == ("not yet", "cpu, float32")
    accuracy.recipe(accuracy.Query(study.base, study.prompts, draws=1000), lab)
    computed = accuracy.recipe.computed(accuracy.Query(study.base, study.prompts), lab)
    assert computed is not None
    assert summary.compared(study, lab, computed + 7300)["computed"] == "2 hours ago"


@pytest.mark.parametrize("kind", ["contrast", "texts", "ordered"])
def test_without_answers_the_residuals_say_when_it_was_computed(tmp_path: Path, kind: Kind) -> None:
    study, lab = fake_study(tmp_path, reviews=20, kind=kind), fake_lab(tmp_path)
    assert summary.compared(study, lab, NOW)["computed"] == "not yet"
    lab.readout(study.base, study.prompts)
    assert summary.compared(study, lab, time.time() + 7300)["computed"] == "2 hours ago"


def test_checkpoints_with_their_places_and_the_age_of_their_weights(tmp_path: Path) -> None:
    weights = tmp_path / "checkpoints" / "epoch-1" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    os.utime(weights, (NOW - 300, NOW - 300))
    study = fake_study(tmp_path, epochs=2)
    there = replace(study, checkpoints=study.checkpoints[:2], missing=(Missing("epoch 2", "It is not there."),))
    rows = summary.checkpoints(there, NOW)
    assert [row["checkpoint"] for row in rows] == ["base", "epoch 1", "epoch 2"]
    assert rows[1]["place"] == "checkpoints/epoch-1"
    assert [row["weights written"] for row in rows] == ["", "5 minutes ago", ""]
    assert rows[1]["fingerprint"] == study.checkpoints[1].fingerprint[:12]
    assert rows[2]["fingerprint"] == "cannot be used"


def test_training_in_words(tmp_path: Path) -> None:
    spec = TrainingSpec(repo="stanfordnlp/imdb", epochs=3, batch_size=16, learning_rate=1e-3, sample=15_000)
    said = summary.training(spec, tmp_path)
    assert said == (
        "3 epochs over 15,000 texts of stanfordnlp/imdb (train), recipe sound, batches of 16, learning rate 0.001"
    )
    local = TrainingSpec(path=str(tmp_path / "train.csv"), epochs=1)
    assert "1 epoch over texts of train.csv" in summary.training(local, tmp_path)
    assert "of the file named with --data" in summary.training(TrainingSpec(), tmp_path)


def test_a_study_that_cannot_be_opened_is_told_in_a_sentence() -> None:
    gpt2 = load_study(Path(__file__).parents[2] / "studies" / "gpt2-imdb")
    assert summary.planned(gpt2) == (
        "“GPT-2 on IMDB” compares openai-community/gpt2 with 3 fine-tuned checkpoints (epoch 1, epoch 2, epoch 3) on "
        "200 texts of stanfordnlp/imdb (test). Make the checkpoints with: python -m backend finetune gpt2-imdb."
    )
    alone = fake_study(epochs=0).study
    assert summary.planned(alone) == "“Film reviews, a fake” compares checkpoints/base on 60 texts of reviews.csv."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (86_400 * 3, "3 days ago"),
        (-5, "just now"),
    ],
)
def test_ages(seconds: float, said: str) -> None:
    assert summary.moment(NOW - seconds, NOW) == said


def test_long_ago_is_a_date() -> None:
    assert summary.moment(NOW - 86_400 * 365, NOW).startswith("2022-11-1")
    assert summary.moment(NOW, None).startswith("2023-11-1"), "a file is read later: it names the date"


@given(st.floats(0, 86_400 * 29.9))
def test_an_age_is_never_more_than_it_was(seconds: float) -> None:
    said = summary.moment(NOW - seconds, NOW)
    if said != "just now":
        count, unit, _ = said.split()
        length = {"minute": 60, "hour": 3600, "day": 86_400}[unit.rstrip("s")]
        assert int(count) * length <= seconds + 1
        assert seconds < (int(count) + 1) * length + 1


def test_the_step_of_the_chosen_checkpoint() -> None:
    study = fake_study(epochs=2)
    steps = (None, 1500, 3000)
    changed = tuple(
        replace(one, ref=one.ref.model_copy(update={"step": step}))
        for one, step in zip(study.checkpoints, steps, strict=True)
    )
    known = replace(study, checkpoints=changed)
    assert (
        summary.step(Comparison(known, known.base, changed[1])) == "Step 1,500 of 3,000. The slider is evenly spaced."
    )
    assert summary.step(Comparison(study, study.base, study.checkpoints[1])) is None


def test_a_list_of_studies_marks_missing_weights(tmp_path: Path):
    study = fake_definition(tmp_path)
    assert summary.listed(study) == f"{study.title} (weights missing)"
    for ref in study.refs[:1]:
        Path(str(ref.path)).mkdir(parents=True)
    assert summary.listed(study) == f"{study.title} (some weights missing)"
    for ref in study.refs[1:]:
        Path(str(ref.path)).mkdir(parents=True)
    assert summary.listed(study) == study.title


def test_a_list_of_studies_marks_weights_that_are_on_the_hub_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    base = CheckpointRef(repo="openai-community/gpt2", subfolder="small")
    study = fake_definition(tmp_path).model_copy(update={"base": base, "checkpoints": ()})
    assert summary.listed(study) == f"{study.title} (weights to download)"
    folder = tmp_path / "hub" / "models--openai-community--gpt2" / "snapshots" / "0a1b" / "small"
    folder.mkdir(parents=True)
    assert summary.listed(study) == f"{study.title} (weights to download)"
    (folder / "model.safetensors").touch()
    assert summary.listed(study) == study.title
