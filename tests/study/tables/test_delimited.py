"""Separators and quotes: a unique reading, or an error with the line."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import DatasetError
from backend.study.tables.delimited import read_delimited

CELL = st.text(st.sampled_from('ab1,;\t|" \n'), max_size=6)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), st.sampled_from(",;|"))
def test_what_pandas_writes_comes_back(rows: list[tuple[str, str]], separator: str) -> None:
    table = pd.DataFrame(rows, columns=["text", "label"])
    text = table.to_csv(index=False, sep=separator)
    expected = pd.read_csv(io.StringIO(text, newline=""), sep=separator, keep_default_na=False)
    pd.testing.assert_frame_equal(read_delimited(text, "a.csv", ","), expected)


def test_quotes_of_a_tab_separated_file_are_literal_where_only_that_fits() -> None:
    table = read_delimited('text\tlabel\n"Fine" he said\t1\n5\' 2" tall\t0\n', "a.tsv", "\t")
    assert table["text"].tolist() == ['"Fine" he said', "5' 2\" tall"]
    quoted = read_delimited('text\tlabel\n"a ""b"" c"\t1\n', "a.tsv", "\t")
    assert quoted["text"].tolist() == ['a "b" c']


def test_a_quote_that_may_swallow_lines_is_refused() -> None:
    with pytest.raises(DatasetError, match="line 3, starts a cell with a quote that closes on a later line"):
        read_delimited('text\tlabel\na\t1\n"b\t0\nc"\t1\n', "a.tsv", "\t")


def test_a_declared_separator_keeps_the_numbers_of_lines() -> None:
    with pytest.raises(DatasetError, match=r"line 4, has 1 cell separated by a semicolon"):
        read_delimited("sep=;\ntext;label\na;1\nb\n", "a.csv", ",")


def test_the_longest_texts_are_read() -> None:
    long = "word, " * 50_000
    assert read_delimited(f'text,label\n"{long}",1\n', "a.csv", ",")["text"].tolist() == [long]
