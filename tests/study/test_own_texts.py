"""One's own texts: a text a line, or a column of any data file; empty ones are left out."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pandas as pd
import pytest

from backend.errors import DatasetError
from backend.study.config import DifferenceSpec, Study
from backend.study.own_texts import digest, read_own_texts
from tests.fakes import fake_definition

TEXTS = ("The script is funny.", "  Der Film.", "one \u2014 two")


def naming(folder: Path, **difference: str) -> Study:
    return fake_definition(folder).model_copy(update={"difference": DifferenceSpec(**difference)})


def test_a_line_is_a_text(tmp_path: Path):
    (tmp_path / "mine.txt").write_bytes("\r\n".join([*TEXTS, "", "   ", ""]).encode("utf-16"))
    assert read_own_texts(naming(tmp_path, texts="mine.txt")) == TEXTS


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.jsonl.gz"])
def test_a_column_holds_texts(name: str, tmp_path: Path):
    table, place = pd.DataFrame({"n": [1, 2, 3, 4], "body": [*TEXTS, None]}), tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(place)
    elif "json" in name:
        content = str(table.to_json(orient="records", lines="jsonl" in name)).encode()
        place.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    else:
        table.to_csv(place, index=False, sep="\t" if name == "a.tsv" else ",")
    assert read_own_texts(naming(tmp_path, texts=str(place), column="body")) == TEXTS


def test_a_file_that_changes_is_read_again(tmp_path: Path):
    study = naming(tmp_path, texts="mine.txt")
    with pytest.raises(DatasetError, match=r"does not exist; correct difference.texts"):
        read_own_texts(study)
    (tmp_path / "mine.txt").write_text("a\nb")
    assert read_own_texts(study) == ("a", "b")
    (tmp_path / "mine.txt").write_text("a\nc")
    os.utime(tmp_path / "mine.txt", ns=(1, 1))
    assert read_own_texts(study) == ("a", "c")


def test_a_study_without_a_file_has_none(tmp_path: Path):
    assert read_own_texts(fake_definition(tmp_path)) == ()


def test_order_and_words_are_in_the_digest():
    assert len({digest(texts) for texts in (TEXTS, TEXTS[::-1], TEXTS[:2], ("ab", "c"), ("a", "bc"))}) == 5
