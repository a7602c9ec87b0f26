"""study.toml: valid files, and one error message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.errors import StudyError
from backend.study.config import STUDY_FILE, Study, find_studies, load_study

GOOD = """
title = "Reviews"
family = "causal"
[base]
path = "base"
[[checkpoints]]
label = "epoch 1"
path = "checkpoints/epoch-1"
[[checkpoints]]
label = "epoch 2"
repo = "somebody/model"
subfolder = "epoch-2"
revision = "main"
[dataset]
path = "data.csv"
sample = 10
[prompt]
template = "Review: {text} Sentiment:"
label_words = ["negative", "positive"]
[lexicon]
food = ["bread", "cheese"]
[training]
repo = "stanfordnlp/imdb"
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STUDY_FILE).write_text(text)
    return folder


def test_everything_is_read_and_paths_become_absolute(tmp_path: Path) -> None:
    study = load_study(write(tmp_path / "reviews", GOOD))
    assert study.name == "reviews"
    assert [ref.label for ref in study.refs] == ["base", "epoch 1", "epoch 2"]
    assert study.base.path == str(tmp_path / "reviews" / "base")
    assert study.dataset.path == str(tmp_path / "reviews" / "data.csv")
    assert study.checkpoints[1].place == "somebody/model/epoch-2@main"
    assert study.lexicon == {"food": ("bread", "cheese")}
    assert study.training is not None and study.training.recipe == "sound"
    assert study.prompt.max_tokens == 256 and study.prompt.keep == "end" and study.classes == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_study(tmp_path: Path, encoding: str) -> None:
    expected = load_study(write(tmp_path, GOOD))
    (tmp_path / STUDY_FILE).write_bytes(GOOD.replace("\n", "\r\n").encode(encoding))
    assert load_study(tmp_path) == expected
    (tmp_path / STUDY_FILE).write_bytes(GOOD.replace("Reviews", "Kritik: schön").encode("latin-1"))
    with pytest.raises(StudyError, match=r"study\.toml, line 2, holds the byte 0xf6, which is not UTF-8"):
        load_study(tmp_path)


def test_a_checkpoint_of_another_seed_is_none_of_the_epochs(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD.replace('label = "epoch 2"', 'label = "again"\nseed_of = "epoch 1"')))
    assert [ref.label for ref in study.refs] == ["base", "epoch 1", "again"]
    assert [ref.label for ref in study.epochs] == ["epoch 1"]
    assert study.checkpoints[1].seed_of == "epoch 1"


def test_a_loaded_study_is_frozen(tmp_path: Path) -> None:
    study: Any = load_study(write(tmp_path, GOOD))
    with pytest.raises(ValueError, match="frozen"):
        study.title = "other"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Reviews"', 'title = "Reviews"\ncolour = 1', "colour is an unknown key"),
        ('title = "Reviews"', "", "title is missing; add it"),
        ('family = "causal"', 'family = "gpt"', "family is wrong: input should be 'causal' or 'encoder'"),
        ("sample = 10", 'sample = "ten"', "dataset.sample is wrong: input should be a valid integer"),
        ("sample = 10", "sample = 0", "dataset.sample is wrong: input should be greater than 0"),
        ("sample = 10", "sample = 11", "dataset.sample is 11, which is not divisible by 2 classes"),
        ('path = "base"', "", "[base] needs either repo (on the hub) or path"),
        ('path = "base"', 'path = "base"\nrepo = "x/y"', "give exactly one"),
        ('path = "base"', 'path = "base"\nrevision = "v2"', "base.revision belongs to a hub repository"),
        ('path = "base"', 'path = "base"\nsubfolder = "a"', "has a local path; add it to path."),
        ("sample = 10", 'sample = 10\nconfig = "sst2"', "dataset.config belongs to a hub repository, but dataset has"),
        ('label = "epoch 2"', 'label = "epoch 1"', 'checkpoints[2].label "epoch 1" is used twice'),
        ('label = "epoch 2"', 'label = "base"', "is reserved for the base"),
        ('label = "epoch 2"\n', "", "checkpoints[2].label is missing"),
        ('label = "epoch 2"', "label = 2", "checkpoints[2].label is wrong: input should be a valid string"),
        ('path = "base"', 'path = "base"\nseed_of = "epoch 1"', "base.seed_of is not allowed; remove it"),
        ('label = "epoch 2"', 'label = "epoch 2"\nseed_of = "epoch 3"', "without seed_of; choose from epoch 1."),
        ('label = "epoch 2"', 'label = "epoch 2"\nseed_of = "epoch 2"', 'checkpoints[2].seed_of "epoch 2" must be'),
        ('label = "epoch 2"', 'label = "epoch 2"\nseed_of = "base"', 'checkpoints[2].seed_of "base" must be'),
        ("{text}", "text", "prompt.template has no {text}"),
        ("{text}", "{text} {text}", "{text} more than once"),
        ('"negative", "positive"', '"positive", "positive"', "prompt.label_words repeats a word"),
        ("sample = 10", "sample = 10\nlabels = [0, 1, 2]", "dataset.labels must list 2 different values"),
        ('repo = "stanfordnlp/imdb"', 'repo = "a/b"\npath = "c"', "[training] has both repo and path"),
        ('repo = "stanfordnlp/imdb"', 'epoch = 3\nrepo = "x"', "training.epoch is an unknown key"),
        ("[prompt]", "[prompt", "cannot be read as TOML"),
        ('title = "', 'title = "\0', "line 2, holds a zero byte"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    folder = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(StudyError) as caught:
        load_study(folder)
    sentence = str(caught.value)
    assert message in sentence
    assert str(folder / STUDY_FILE) in sentence
    assert "\n" not in sentence and sentence.endswith(".")


def test_a_missing_folder_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"does not exist; name a folder that holds a study\.toml"):
        load_study(tmp_path / "nowhere")


def test_one_broken_study_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / "good", GOOD)
    write(tmp_path / "broken", "title =")
    studies = find_studies(tmp_path)
    assert isinstance(studies["good"], Study)
    assert isinstance(studies["broken"], StudyError)


@pytest.mark.parametrize("name", ["demo", "gpt2-imdb"])
def test_the_studies_that_ship_can_be_read(name: str) -> None:
    assert load_study(Path(__file__).parents[2] / "studies" / name).training is not None
