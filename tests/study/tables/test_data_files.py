"""Unusual data files: each gives exactly its rows, or an error that names the cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.errors import DatasetError
from backend.study.tables.data_files import read_file
from tests.study.tables.files import READ, REFUSED, ROWS, parquet


@pytest.mark.parametrize("case", READ)
def test_a_file_of_one_reading_is_read(tmp_path: Path, case: str) -> None:
    name, content = READ[case]
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    table = read_file(file)
    rows = [(text, int(label)) for text, label in zip(table["text"], table["label"], strict=True)]
    assert rows == ROWS
    assert table.attrs["class_names"] == {}
    assert read_file(Path("/uploaded") / name, file.read_bytes()).equals(table), "an upload is read as the file is"


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_would_be_a_guess_is_one_sentence(tmp_path: Path, case: str) -> None:
    name, content, message = REFUSED[case]
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError) as caught:
        read_file(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_file(tmp_path / "gone.csv")
    with pytest.raises(DatasetError, match="a folder without a dataset of save_to_disk; it is empty"):
        read_file(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(parquet())
    with pytest.raises(DatasetError, match=r"name one data file in it: data/train\.parquet"):
        read_file(tmp_path)


def test_words_for_missing_values_are_texts(tmp_path: Path) -> None:
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        file = tmp_path / f"a{suffix}"
        file.write_text("\n".join(separator.join(row) for row in [("text", "label"), ("NA", "1"), ("null", "0")]))
        assert read_file(file)["text"].tolist() == ["NA", "null"]


def test_class_names_come_with_a_parquet_file(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["a", "b"], "label": [1, 0], "kind": pd.Categorical(["x", "y"], ["y", "x"])})
    arrow = pa.Table.from_pandas(table)
    features: dict[str, Any] = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["negative", "positive"], "_type": "ClassLabel"},
    }
    info = json.dumps({"info": {"features": features}})
    file = tmp_path / "a.parquet"
    pq.write_table(arrow.replace_schema_metadata({b"huggingface": info.encode()}), file)
    read = read_file(file)
    assert read.attrs["class_names"] == {"label": ("negative", "positive")}
    assert read["kind"].tolist() == ["x", "y"]
    pq.write_table(arrow.replace_schema_metadata({b"huggingface": b"{broken"}), file)
    assert read_file(file).attrs["class_names"] == {}
