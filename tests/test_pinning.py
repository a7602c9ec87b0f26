"""Pinning: what is missing is listed with its reason, what changed is noticed, what did not is not read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend import pinning
from backend.errors import CheckpointError, DatasetError
from backend.lab import Lab
from backend.pinning import pin
from backend.study import CheckpointRef, Study
from tests.fakes import FakeModels, fake_definition, fake_lab, fake_sample


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A fake study with a real data file."""
    definition = fake_definition(tmp_path)
    write(tmp_path, 60)
    return definition


def write(folder: Path, reviews: int, seed: int = 0) -> None:
    sample = fake_sample(reviews, seed=seed)
    rows = [f'"{text}",{label}' for text, label in zip(sample.text, sample.label, strict=True)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]))


class Refusing(FakeModels):
    """Fake models of which some checkpoints cannot be used."""

    refused = "epoch-2"

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        if ref.place.endswith(self.refused):
            raise CheckpointError(f"{ref.place} is not there; train it.")
        return super().fingerprint(ref, base)


def test_checkpoints_that_cannot_be_used_are_listed_with_the_reason(study: Study, tmp_path: Path) -> None:
    pinned = pin(study, fake_lab(tmp_path, Refusing()))
    assert [one.label for one in pinned.checkpoints] == ["base", "epoch 1", "epoch 3"]
    assert [(one.label, one.reason.endswith("train it.")) for one in pinned.missing] == [("epoch 2", True)]
    assert pinned.checkpoint("epoch 3").ref.label == "epoch 3"
    with pytest.raises(KeyError):
        pinned.checkpoint("epoch 2")


def test_a_checkpoint_that_appears_is_there_at_the_next_look(study: Study, tmp_path: Path) -> None:
    models = Refusing()
    lab = fake_lab(tmp_path, models)
    assert len(pin(study, lab).checkpoints) == 3
    models.refused = "nothing"
    assert len(pin(study, lab).checkpoints) == 4


def test_without_its_base_a_study_cannot_be_pinned(study: Study, tmp_path: Path) -> None:
    models = Refusing()
    models.refused = "base"
    with pytest.raises(CheckpointError, match="train it"):
        pin(study, fake_lab(tmp_path, models))


def test_data_that_changed_is_read_again_and_data_that_did_not_is_not(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = fake_lab(tmp_path)
    first = pin(study, lab)
    monkeypatch.setattr(pinning, "read_sample", lambda *_: pytest.fail("the data was read again"))
    assert pin(study, lab).prompts is first.prompts
    pinning._SAMPLES.clear()
    assert pin(study, fake_lab(tmp_path)).prompts.digest == first.prompts.digest, "remembered across processes"
    monkeypatch.undo()
    write(tmp_path, 60, seed=5)
    os.utime(tmp_path / "reviews.csv", ns=(1, 1))
    assert pin(study, lab).prompts.digest != first.prompts.digest


def test_data_that_is_gone_is_said(study: Study, tmp_path: Path) -> None:
    lab = fake_lab(tmp_path)
    (tmp_path / "reviews.csv").unlink()
    with pytest.raises(DatasetError, match="does not exist"):
        pin(study, lab)


def test_the_dtype_is_part_of_what_is_pinned(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab: Lab = fake_lab(tmp_path)
    assert pin(study, lab).base.dtype == "float32"
    monkeypatch.setenv("LAYERSHIFT_DTYPE", "bfloat16")
    assert pin(study, lab).base.dtype == "bfloat16"
    monkeypatch.setenv("LAYERSHIFT_DTYPE", "int8")
    with pytest.raises(CheckpointError, match="use one of float32, float16, bfloat16"):
        pin(study, lab)
