"""Pinning: what is missing is listed with its reason, what changed is noticed, what did not is not read again."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.caching.cache import Cache
from backend.errors import CheckpointError, DatasetError
from backend.lab import pinning
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.models.files import settled
from backend.models.local import LocalModels
from backend.study.config import CheckpointRef, Study, load_study
from backend.study.facts import Facts, Reading
from backend.study.pinned import PinnedStudy
from backend.study.prompts import make_prompts
from backend.study.reader import plain_reader
from tests.fake_texts import fake_sample
from tests.fakes import FakeModels, fake_definition, fake_lab
from tests.tiny import rewrite, tiny_study


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


def test_notes_on_patterns_are_warnings_and_content_changes_with_a_checkpoint(study: Study, tmp_path: Path) -> None:
    lab = fake_lab(tmp_path)
    noted = study.model_copy(update={"notes": ("step 5 is left out.",), "checkpoints": study.checkpoints[:2]})
    before, after = pin(noted, lab), pin(study, lab)
    assert before.warnings[0] == "step 5 is left out." and after.warnings == ()
    assert before.content == after.content[:3] and len(after.content) == 4
    assert [label for label, _ in after.content] == ["base", "epoch 1", "epoch 2", "epoch 3"]


def test_without_its_base_a_study_cannot_be_pinned(study: Study, tmp_path: Path) -> None:
    models = Refusing()
    models.refused = "base"
    with pytest.raises(CheckpointError, match="train it"):
        pin(study, fake_lab(tmp_path, models))


class Checking(FakeModels):
    """Fake models that fail a check, answer with a head, or share weights."""

    broken: str = ""
    answers: str = ""
    copied: Mapping[str, str] = {}

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        if ref.label == self.broken:
            raise CheckpointError(f"{ref.label} lacks weights.")

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        return replace(super().facts(ref, base), answers=3 if ref.label == self.answers else None)

    def weights_digest(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        return self.copied.get(ref.label, ref.label)


def test_the_base_is_checked_like_every_checkpoint(study: Study, tmp_path: Path) -> None:
    models = Checking()
    models.broken = "epoch 1"
    assert [one.reason for one in pin(study, fake_lab(tmp_path, models)).missing] == ["epoch 1 lacks weights."]
    models.broken = "base"
    with pytest.raises(CheckpointError, match="base lacks weights"):
        pin(study, fake_lab(tmp_path, models))


def test_a_head_has_one_row_per_label_word(study: Study, tmp_path: Path) -> None:
    models = Checking()
    models.answers = "epoch 2"
    (missing,) = pin(study, fake_lab(tmp_path, models)).missing
    assert missing.label == "epoch 2"
    assert "has a head of 3 classes and the study has 2 label words; give one word" in missing.reason


def test_checkpoints_of_equal_weights_are_named(study: Study, tmp_path: Path) -> None:
    models = Checking()
    assert pin(study, fake_lab(tmp_path, models)).warnings == ()
    models.copied = {"epoch 2": "a", "epoch 3": "a", "epoch 1": "base"}
    assert pin(study, fake_lab(tmp_path, models)).warnings == (
        "base and epoch 1 hold the same weights; check whether one was copied over the other.",
        "epoch 2 and epoch 3 hold the same weights; check whether one was copied over the other.",
    )


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


def test_the_dtype_of_the_files_counts_on_a_gpu_alone(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lab: Lab = fake_lab(tmp_path)
    facts = lab.models.facts
    monkeypatch.setattr(lab.models, "facts", lambda *refs: replace(facts(*refs), stored="bfloat16"))
    assert pin(study, lab).base.dtype == "float32"
    monkeypatch.setattr(lab.models, "device", "cuda:0")
    assert pin(study, lab).base.dtype == "bfloat16"
    assert pin(study.model_copy(update={"dtype": "float32"}), lab).base.dtype == "float32"


class Classifiers(FakeModels):
    """Fake models of which some have a classification head."""

    heads: tuple[str, ...] = ()

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        found = super().facts(ref, base)
        classifies = replace(found, architecture="GPT2ForSequenceClassification", answers=2)
        return classifies if ref.label in self.heads else found


def test_a_language_model_among_classifiers_is_read_without_its_head(study: Study, tmp_path: Path) -> None:
    models = Classifiers()
    plain = pin(study, fake_lab(tmp_path, models))
    assert plain.reading == "causal" and plain.predicting == plain.answering == plain.checkpoints
    models.heads = ("epoch 2", "epoch 3")
    mixed = pin(study, fake_lab(tmp_path, models))
    assert mixed.reading == "classifier" and mixed.predicting == ()
    assert [one.label for one in mixed.answering] == ["epoch 2", "epoch 3"]
    architectures = [one.facts.architecture for one in mixed.checkpoints]
    assert architectures == ["GPT2Model"] * 2 + ["GPT2ForSequenceClassification"] * 2
    same = [one.fingerprint == two.fingerprint for one, two in zip(plain.checkpoints, mixed.checkpoints, strict=True)]
    assert same == [False, False, True, True], "results without a head are others than those with it"


def test_rows_of_a_head_are_no_label_tokens(study: Study, tmp_path: Path) -> None:
    models = Classifiers()
    models.heads = ("epoch 1",)
    prompts = pin(study, fake_lab(tmp_path, models)).prompts
    assert prompts.label_tokens == (0, 1) and prompts.readout == "last"
    tokenizer = models.tokenizer(study.base, study.base)
    shared = study.prompt.model_copy(update={"label_words": ("spam", "spam spam")})
    assert plain_reader(tokenizer, shared, "classifier").rows == (0, 1), "words that begin alike name rows all the same"
    readings: tuple[Reading, ...] = ("encoder", "classifier", "causal")
    encoder, classifier, tokens = (
        make_prompts(plain_reader(tokenizer, study.prompt, one), ["film"], np.zeros(1, dtype=np.int64))
        for one in readings
    )
    assert len({one.digest for one in (encoder, classifier, tokens)}) == 3
    assert classifier.readout == "last" != encoder.readout


def test_bodies_alone_need_no_label_tokens(study: Study, tmp_path: Path) -> None:
    class Bodies(FakeModels):
        def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
            return super().facts(ref, base).body

    pinned = pin(study, fake_lab(tmp_path, Bodies()))
    assert pinned.reading == "classifier" and pinned.answering == ()


def test_fingerprints_of_several_checkpoints_are_computed_at_once(study: Study, tmp_path: Path) -> None:
    meeting, asked = threading.Barrier(4), []

    class Slow(FakeModels):
        def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
            if len(asked) < 4:
                asked.append(ref.label)
                meeting.wait(10)  # breaks unless base and three epochs are asked for together
            return super().fingerprint(ref, base)

    assert len(pin(study, fake_lab(tmp_path, Slow())).checkpoints) == 4


def test_a_study_whose_files_are_as_they_were_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_study(tmp_path / "tiny", (1, 2))
    (folder / "own.txt").write_text("one\ntwo\n")
    rewrite(folder, "[prompt]", '[difference]\ntexts = "own.txt"\n[prompt]')
    lab = replace(fake_lab(tmp_path), models=LocalModels(Cache(tmp_path / "cache")))
    monkeypatch.setattr(settled, "SETTLED_NS", 0)

    def again() -> PinnedStudy:
        return pin(load_study(folder), lab)

    assert again() is not again(), "the first two are read"
    first = again()
    assert again() is first
    monkeypatch.setattr(settled, "SETTLED_NS", 3_600_000_000_000)
    assert again() is not first, "files that were just written may be written again"
    monkeypatch.setattr(settled, "SETTLED_NS", 0)
    checkpoint = folder / "checkpoints" / "epoch-1"
    config = checkpoint / "config.json"
    changes: list[Callable[[], object]] = [
        lambda: config.write_text(config.read_text().replace('"n_head"', '"summary_use_proj": false, "n_head"')),
        lambda: shutil.copy(folder / "base" / "model.safetensors", checkpoint),
        lambda: (checkpoint / "vocab.txt").write_text("a"),
        lambda: (folder / "own.txt").write_text("one\ntwo\nthree\n"),
        lambda: (folder / "reviews.csv").write_text((folder / "reviews.csv").read_text().replace("good", "fine")),
        lambda: rewrite(folder, "sample = 20", "sample = 16"),
        lambda: shutil.move(checkpoint, tmp_path / "away"),
    ]
    for number, change in enumerate(changes):
        before = [again(), again()][1]
        assert again() is before, number
        change()
        assert again() is not before, number
    assert [one.label for one in again().missing] == ["epoch 1"]


def test_a_found_overflow_counts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_study(tmp_path / "tiny", (1, 2))
    models = LocalModels(Cache(tmp_path / "cache"))
    lab = replace(fake_lab(tmp_path), models=models)
    monkeypatch.setattr(settled, "SETTLED_NS", 0)
    first = [pin(load_study(folder), lab) for _ in range(3)][2]
    monkeypatch.setattr(models, "largest_weight", lambda *_: (1e30, "wte"))
    models.cache.put_json(f"overflow/{first.checkpoints[1].fingerprint}/float32", 1)
    assert [one.label for one in pin(load_study(folder), lab).missing] == ["epoch 1"]
