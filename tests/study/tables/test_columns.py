"""Columns of texts and labels, and equal label values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from backend.errors import DatasetError
from backend.study.classes import value_key
from backend.study.tables.columns import find_labels, find_texts, label_values


@pytest.mark.parametrize(
    "cells",
    [
        [1, 0, 1],
        [1.0, 0.0, float("nan")],
        pd.array([1, 0, None], dtype="Int64"),
        pd.array([True, False, None], dtype="boolean"),
        [True, False, None],
        ["1", "0", ""],
        ["1.0", "0.0", ""],
        [" 1", "0 ", None],
        ["True", "False", "nan"],
        ["TRUE", "FALSE", ""],
        ["true", "false", " "],
        pd.Categorical(["1", "0", None]),
    ],
)
def test_one_label_written_in_many_ways(cells: Any) -> None:
    cells_read = find_labels(pd.DataFrame({"label": cells}), "label", "a.csv")
    keys = [value_key(value) for value in cells_read[:2]]
    assert keys == [value_key(True), value_key(False)] == [value_key(1), value_key(0)]
    assert [value_key(value) for value in label_values(cells_read)] == ["0", "1"]


def test_label_values_can_be_listed_in_a_study() -> None:
    assert label_values([10, 9, 2, 10]) == [2, 9, 10]
    assert label_values(["b", "a", None, " a "]) == ["a", "b"]
    assert list(map(repr, label_values([1.0, 0.0, np.float32(2), float("nan")]))) == ["0", "1", "2"]
    assert list(map(repr, label_values(["10.0", "9.0"]))) == ["9", "10"]
    assert label_values([0.5, 2.5]) == ["0.5", "2.5"]
    assert label_values([True, False, None]) == [False, True]
    assert label_values(["true", "mixture", "false"]) == ["false", "mixture", "true"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["good", "film"], ["bad"]], "holds a list of 2 texts in row 0"),
        (["fine", [{"role": "user", "content": "x"}]], "holds a list of 1 chat messages in row 1"),
        ([[{"from": "human", "value": "x"}]], "a list of 1 chat messages"),
        ([{"en": "x", "de": "y"}], "holds an object (with the keys en, de) in row 0"),
        ([np.array([1, 2])], "holds a list of 2 values"),
        ([3, 4, "a"], "holds values such as 3 instead of texts; name the text column"),
        ([b"a", b"b"], "holds values such as b'a' instead of texts"),
    ],
)
def test_texts_that_are_none_are_one_sentence(cells: list[Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        find_texts(pd.DataFrame({"text": pd.Series(cells, dtype=object)}), "text", "a.jsonl")
    assert message in str(caught.value)


def test_gaps_and_a_stray_number_among_texts_stay() -> None:
    cells = ["a", None, float("nan"), 3, "b", ""]
    cells_read = find_texts(pd.DataFrame({"text": pd.Series(cells, dtype=object)}), "text", "a.jsonl")
    assert [cell for cell in cells_read if isinstance(cell, str)] == ["a", "b", ""]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, [0, 2]], "holds a list of 2 values in row 1 (counted from 0), as in multi-label or one-hot data"),
        ([np.array([0, 1, 0])], "a list of 3 values"),
        ([["joy"]], "a list of 1 texts"),
        ([None, float("nan")], "is empty; name the label column"),
        (["", " "], "is empty"),
    ],
)
def test_labels_that_are_none_are_one_sentence(cells: list[Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        find_labels(pd.DataFrame({"label": pd.Series(cells, dtype=object)}), "label", "a.jsonl")
    assert message in str(caught.value)


def test_minus_one_of_a_class_label_is_no_class() -> None:
    table = pd.DataFrame({"label": [1, -1, 0], "fold": [-1, -1, -1], "other": [1, -1, 0]})
    table.attrs["class_names"] = {"label": ("negative", "positive"), "fold": ("a", "b")}
    assert find_labels(table, "label", "a.parquet") == [1, None, 0]
    assert find_labels(table, "other", "a.parquet") == [1, -1, 0]
    with pytest.raises(DatasetError, match=r'column "fold" holds only -1, which means unlabelled.*use another split'):
        find_labels(table, "fold", "a.parquet")


def test_a_missing_column_names_those_that_are_there() -> None:
    with pytest.raises(DatasetError) as caught:
        find_texts(pd.DataFrame({"sentence": ["a"], "y": [0]}), "text", "a.csv")
    assert str(caught.value) == 'a.csv has no column "text" (dataset.text); its columns are: sentence, y.'


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"TEXT": ["a"], "y": [0]}, 'its columns are: TEXT, y; write text = "TEXT".'),
        ({" Text ": ["a"], "y": [0]}, '; write text = " Text ".'),
        (
            {"data": [None, {"text": "a"}], "y": [0, 1]},
            '; "data" holds objects with the key text, so write it',
        ),
        (
            {"messages": [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]},
            '; "messages" holds a list of 2 chat messages, so write text and label as columns of their own.',
        ),
        ({"data": [{"body": "a"}], "y": [0]}, "its columns are: data, y."),
    ],
)
def test_where_a_missing_column_may_be(table: dict[str, Any], hint: str) -> None:
    with pytest.raises(DatasetError) as caught:
        find_texts(pd.DataFrame(table), "text", "a.jsonl")
    assert hint in str(caught.value)


def test_a_first_line_of_data_is_said() -> None:
    table = pd.DataFrame({"This film was\ngood, and I would see it again": ["bad"], "1": [0]})
    with pytest.raises(DatasetError, match="its first line looks like data, so add a first line") as caught:
        find_labels(table, "label", "a.csv")
    assert "\n" not in str(caught.value)
