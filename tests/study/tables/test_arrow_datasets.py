"""Folders of the datasets library, and their class names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from backend.__main__ import main
from backend.errors import DatasetError
from backend.study.config import load_study
from backend.study.dataset import source_stamp
from backend.study.tables.arrow_datasets import CLASS_NAMES, read_saved
from backend.study.tables.data_files import read_file
from tests.tiny import tiny_model

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})


def saved(rows: int = 3, names: Features = FEATURES) -> Dataset:
    return Dataset.from_dict({"text": [f"text {i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]}, names)


def test_a_saved_dataset_is_read_with_its_class_names(tmp_path: Path) -> None:
    saved(5).select([4, 1, 0]).save_to_disk(tmp_path / "data")
    table = read_file(tmp_path / "data")
    assert table["text"].tolist() == ["text 4", "text 1", "text 0"]
    assert table["label"].tolist() == [0, 1, 0]
    assert table.attrs[CLASS_NAMES] == {"label": ("negative", "positive")}


def test_a_parquet_of_the_library_brings_the_same_names(tmp_path: Path) -> None:
    saved().to_parquet(tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet").attrs[CLASS_NAMES] == {"label": ("negative", "positive")}


def test_names_that_are_numbers_name_nothing(tmp_path: Path) -> None:
    saved(names=Features({"text": Value("string"), "label": ClassLabel(num_classes=2)})).save_to_disk(tmp_path / "data")
    assert read_saved(tmp_path / "data", "test").attrs[CLASS_NAMES] == {}


def test_of_several_splits_the_one_asked_for_is_read(tmp_path: Path) -> None:
    DatasetDict({"train": saved(4), "validation": saved(2)}).save_to_disk(tmp_path / "data")
    assert len(read_file(tmp_path / "data", split="validation")) == 2
    with pytest.raises(DatasetError, match=r'no split "test"; set split in study\.toml to one of: train, validation'):
        read_file(tmp_path / "data")


@pytest.mark.parametrize(
    ("names", "given", "read"),
    [
        (("train", "validation"), "validation", "validation"),
        (("train", "test"), None, "test"),
        (("train",), None, "train"),
        ((), None, None),
    ],
)
def test_a_new_study_names_the_split_that_it_read(
    names: tuple[str, ...], given: str | None, read: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DatasetDict({name: saved(8) for name in names}) if names else saved(8)
    assert new_study(tmp_path, monkeypatch, data, *(("--split", given) if given else ())) == 0
    study = load_study(tmp_path / "studies" / "mine")
    assert ('split = "' in (study.folder / "study.toml").read_text()) == (read is not None)
    assert study.dataset.split == (read or "test")


def test_of_several_splits_one_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DatasetDict({"train": saved(8), "validation": saved(8)})
    assert new_study(tmp_path, monkeypatch, data) == 2
    assert "holds the splits train, validation; name one of them with --split." in capsys.readouterr().err
    assert new_study(tmp_path, monkeypatch, data, "--split", "dev") == 2
    assert 'has no split "dev"' in capsys.readouterr().err


def new_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Dataset | DatasetDict, *more: str) -> int:
    """Exit code of `new` for a saved dataset on a tiny base."""
    monkeypatch.setenv("LAYERSHIFT_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    for name in ("base", "tuned"):
        tiny_model(tmp_path / name, len(name))
    data.save_to_disk(str(tmp_path / "data"))
    models = ["--base", str(tmp_path / "base"), "--checkpoints", str(tmp_path / "tuned")]
    return main(["new", "mine", *models, "--data", str(tmp_path / "data"), *more])


def test_damaged_folders_are_one_sentence(tmp_path: Path) -> None:
    saved().save_to_disk(tmp_path / "data")
    state = tmp_path / "data" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_data_files": [{"filename": "gone.arrow"}]}))
    with pytest.raises(DatasetError, match="cannot be loaded as a dataset"):
        read_file(tmp_path / "data")
    (tmp_path / "data" / "dataset_dict.json").write_text("{}")
    with pytest.raises(DatasetError, match="names no splits"):
        read_file(tmp_path / "data")


def test_a_folder_that_is_written_again_has_another_stamp(tmp_path: Path) -> None:
    saved(3).save_to_disk(tmp_path / "data")
    before = source_stamp(str(tmp_path / "data"))
    assert source_stamp(str(tmp_path / "data")) == before
    file = next((tmp_path / "data").glob("*.arrow"))
    file.write_bytes(file.read_bytes())
    assert source_stamp(str(tmp_path / "data")) != before
