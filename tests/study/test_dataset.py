"""Texts from every file type become a balanced, seeded sample, or an error with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import DatasetError
from backend.study.config import DatasetSpec, TrainingSpec
from backend.study.dataset import (
    Rows,
    balanced,
    classify,
    read_sample,
    read_table,
    text_digest,
    training_texts,
)

WORDS = ("negative", "positive")

TABLE = pd.DataFrame({"text": [f"text {i}" for i in range(12)], "label": [0] * 6 + [1] * 6})


def store(folder: Path, suffix: str, table: pd.DataFrame = TABLE) -> str:
    file = folder / f"data{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    elif suffix == ".csv":
        table.to_csv(file, index=False)
    else:
        table.to_json(file, orient="records", lines=True)
    return str(file)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_kind_of_file_gives_the_same_sample(tmp_path: Path, suffix: str) -> None:
    sample, _ = read_sample(DatasetSpec(path=store(tmp_path, suffix), sample=8, seed=3), WORDS)
    again, _ = read_sample(DatasetSpec(path=store(tmp_path, ".csv"), sample=8, seed=3), WORDS)
    assert sample.digest == again.digest
    assert np.bincount(sample.label).tolist() == [4, 4]
    assert sample.text == tuple(f"text {i}" for i in sample.index)
    assert sample.index.tolist() == sorted(set(sample.index.tolist()))


def test_another_seed_draws_other_rows(tmp_path: Path) -> None:
    path = store(tmp_path, ".csv")
    digests = {read_sample(DatasetSpec(path=path, sample=4, seed=seed), WORDS)[0].digest for seed in range(8)}
    assert len(digests) > 1


@given(st.lists(st.integers(0, 2), min_size=9, max_size=60), st.integers(0, 5))
def test_a_sample_is_balanced_without_repeats(labels: list[int], seed: int) -> None:
    counts = np.bincount(labels, minlength=3)
    share = int(counts.min())
    label = np.array(labels, dtype=np.int64)
    rows = Rows(np.arange(len(labels), dtype=np.int64) * 2, label, tuple(map(str, range(len(labels)))))
    if share == 0:
        return
    sample = balanced(rows, 3 * share, 3, seed, "here")
    assert np.bincount(sample.label, minlength=3).tolist() == [share] * 3
    assert len(set(sample.index.tolist())) == 3 * share
    assert all(int(text) * 2 == index for text, index in zip(sample.text, sample.index, strict=True))


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        (["pos", "neg", "pos", "neg"], ("neg", "pos"), [1, 0, 1, 0]),
        ([True, False, True, False], (0, 1), [1, 0, 1, 0]),
        (["1", "0", "1", "0"], (0, 1), [1, 0, 1, 0]),
        ([1.0, 0.0, 1.0, 0.0], (1, 0), [0, 1, 0, 1]),
        ([10, 2, 10, 2], None, [1, 0, 1, 0]),
        (["True", "FALSE", "true", "false"], (False, True), [1, 0, 1, 0]),
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        ([" pos", "neg ", "pos", "neg"], ("neg", "pos"), [1, 0, 1, 0]),
        (["1.0", "0.0", "1.0", "0.0"], (0, 1), [1, 0, 1, 0]),
    ],
)
def test_label_values_become_classes_in_the_order_asked_for(labels: Any, values: Any, expected: list[int]) -> None:
    table = pd.DataFrame({"text": list("abcd"), "label": labels})
    assert classify(table, DatasetSpec(path="x.csv", labels=values), WORDS)[0].label.tolist() == expected


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("values", [(0, 1), (False, True), ("0", "1"), None])
@pytest.mark.parametrize("kind", ["Int64", "float", "boolean"])
def test_labels_with_gaps_are_the_values_that_the_study_lists(
    tmp_path: Path, suffix: str, values: Any, kind: str
) -> None:
    labels = pd.Series([1, 0, None, 1, None, 0], dtype="Int64").astype(kind)
    path = store(tmp_path, suffix, pd.DataFrame({"text": list("abcdef"), "label": labels}))
    rows = classify(read_table(DatasetSpec(path=path)), DatasetSpec(path=path, labels=values), WORDS)[0]
    assert rows.index.tolist() == [0, 1, 3, 5]
    assert rows.label.tolist() == [1, 0, 1, 0]


def test_a_value_that_is_not_listed_is_left_out() -> None:
    table = pd.DataFrame({"text": list("abcd"), "label": [-1, 1, 0, 2]})
    assert classify(table, DatasetSpec(path="x.csv", labels=(0, 1)), WORDS)[0].index.tolist() == [1, 2]
    with pytest.raises(DatasetError, match=r"lists a value twice \(1, '1.0'\)"):
        classify(table, DatasetSpec(path="x.csv", labels=(1, "1.0")), WORDS)


def test_rows_without_a_text_or_with_another_label_are_left_out() -> None:
    table = pd.DataFrame({"text": ["a", None, " ", "d", "e"], "label": [0, 0, 1, 1, 7]})
    rows, _ = classify(table, DatasetSpec(path="x.csv", labels=(0, 1)), WORDS)
    assert rows.index.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "body"}, 'has no column "body" (dataset.text); its columns are: text, label'),
        ({"label": "stars"}, 'has no column "stars" (dataset.label)'),
        ({"sample": 40}, "has 6 usable texts of class 0, fewer than the 20 needed for sample = 40"),
        ({"labels": (0, 5)}, "has no usable row with label 5 (its labels: 0, 1)"),
    ],
)
def test_bad_data_is_one_sentence(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_sample(DatasetSpec(**{"path": store(tmp_path, ".csv"), "sample": 4, **change}), WORDS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_only_is_said(tmp_path: Path) -> None:
    path = store(tmp_path, ".csv", TABLE.head(6))
    with pytest.raises(DatasetError, match=r"has only one class \(label 0\)"):
        read_sample(DatasetSpec(path=path, sample=4), WORDS)


def test_more_values_than_words_asks_for_a_list(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has 2 label values \(0, 1\) for 3 label words"):
        read_sample(DatasetSpec(path=store(tmp_path, ".csv"), sample=6), ("a", "b", "c"))


def test_the_hub_out_of_reach_is_one_sentence() -> None:
    with pytest.raises(DatasetError) as caught:
        read_table(DatasetSpec(repo="nobody/nothing"))
    assert "nobody/nothing (split test) cannot be loaded" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_training_texts_are_compared_without_case_and_white_space(tmp_path: Path) -> None:
    path = store(tmp_path, ".csv", pd.DataFrame({"text": ["A  Film\n", "b"], "label": [0, 1]}))
    training = training_texts(TrainingSpec(path=path), "text")
    assert training is not None
    assert training.normalized_digests() == {text_digest("a film"), text_digest("B")}
    before = training.digest
    Path(path).write_text("text,label\nother,0\n")
    changed = training_texts(TrainingSpec(path=path), "text")
    assert changed is not None and changed.digest != before
    assert training_texts(None, "text") is None


def test_training_texts_on_the_hub_are_never_fetched_for_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    training = training_texts(TrainingSpec(repo="somebody/texts"), "text")
    assert training is not None
    with pytest.raises(DatasetError, match="are not on this machine, so nothing was compared"):
        training.normalized_digests()
    (tmp_path / "somebody___texts").mkdir()
    now = training_texts(TrainingSpec(repo="somebody/texts"), "text")
    assert now is not None
    assert now.digest != training.digest, "the digest changes once they are downloaded"
