"""Rows in every unambiguous JSON format."""

from __future__ import annotations

import pytest

from backend.errors import DatasetError
from backend.study.tables.json_rows import read_json_rows, starts_as_json


def test_missing_keys_and_null_are_missing_values() -> None:
    table = read_json_rows('{"text": "a", "label": 1}\n{"label": null}\n{"text": "c", "label": 0}\n', "a")
    assert table["text"].isna().tolist() == [False, True, False]
    assert table["label"].isna().tolist() == [False, True, False]


def test_values_keep_their_kind() -> None:
    table = read_json_rows('[{"a": true, "b": "01", "c": [1], "date": "2020-01-01"}]', "a")
    assert table.iloc[0].tolist() == [True, "01", [1], "2020-01-01"]


def test_columns_by_row_keep_the_order_of_the_file() -> None:
    table = read_json_rows('{"text": {"10": "a", "9": "b"}, "label": {"10": 1, "9": 0}}', "a")
    assert table["text"].tolist() == ["a", "b"]
    assert table["label"].tolist() == [1, 0]


def test_a_header_with_a_bracket_is_no_json() -> None:
    assert starts_as_json(' \n{"a": 1}\n{"a": 2}')
    assert not starts_as_json("[text],label\na,1\n")
    assert not starts_as_json("text,label\n")


@pytest.mark.parametrize("text", ["[1]", "[null]", '["a"]', "[[1]]", "1", '{"a": [1, 2], "b": [1]}', "{}", "[" * 9_999])
def test_what_holds_no_rows_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=r"^a[, ]"):
        read_json_rows(text, "a")
