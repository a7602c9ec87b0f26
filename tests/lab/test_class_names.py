"""Label values, names in the data, label words and rows of a head: equal names are one class, others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from backend.errors import DatasetError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.study.config import load_study
from tests.tiny import rewrite, tiny_study


def test_equal_names_are_one_class_whatever_their_order(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny")
    before = pin(load_study(folder), lab)
    data = (folder / "reviews.csv").read_text()
    values = {",0": ",negative", ",1": ",positive"}
    named = "\n".join(line[:-2] + values.get(line[-2:], line[-2:]) for line in data.splitlines())
    (folder / "reviews.csv").write_text(named + "\n")
    same = pin(load_study(folder), lab)
    assert same.sample.label.tolist() == before.sample.label.tolist()
    rewrite(folder, '["negative", "positive"]', '["positive", "negative"]')
    turned = pin(load_study(folder), lab)
    known = {line.rpartition(",")[0].strip('"'): line.rpartition(",")[2] for line in named.splitlines()}
    for text, label in zip(turned.sample.text, turned.sample.label, strict=True):
        assert known[text] == ("positive", "negative")[label]
    rewrite(folder, "sample = 20", 'sample = 20\nlabels = ["negative", "positive"]')
    with pytest.raises(DatasetError, match="name the classes in different orders"):
        pin(load_study(folder), lab)


def test_labels_that_share_no_name_with_the_words_must_be_listed(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny")
    file = folder / "reviews.csv"
    lines = file.read_text().splitlines()
    named = {",0": ",fake", ",1": ",real"}
    lines = [line[:-2] + named.get(line[-2:], line[-2:]) for line in lines]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match=r"share only some names or none; list the label values in dataset\.labels"):
        pin(load_study(folder), lab)
    rewrite(folder, "sample = 20", 'sample = 20\nlabels = ["fake", "real"]')
    assert [one.value for one in pin(load_study(folder), lab).classes] == ["fake", "real"]


def test_rows_of_a_head_are_matched_by_name(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny", (1, 2), "bert")
    config = folder / "checkpoints" / "epoch-1" / "config.json"
    raw = json.loads(config.read_text())
    raw |= {"id2label": {"0": "positive", "1": "negative"}, "label2id": {"positive": 0, "negative": 1}}
    config.write_text(json.dumps(raw))
    study = pin(load_study(folder), lab)
    one = study.checkpoint("epoch 1")
    model = AutoModelForSequenceClassification.from_pretrained(str(one.ref.path), dtype=torch.float32)
    found = lab.readout(one, study.prompts).logits
    for ids, logits in zip(study.prompts.token_ids, found, strict=True):
        expected = model(torch.tensor([ids])).logits[0].detach().numpy()
        np.testing.assert_allclose(logits, expected[::-1], rtol=1e-3, atol=1e-3)
    config.write_text(json.dumps(raw | {"id2label": {"0": "cats", "1": "positive"}, "label2id": {}}))
    broken = pin(load_study(folder), lab)
    assert [one.label for one in broken.missing] == ["epoch 1"]
    assert "share only some names with the study's classes" in broken.missing[0].reason


def class_label(folder: Path, *names: str) -> None:
    """The reviews as a Parquet whose label column is a ClassLabel of these names."""
    info = json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}).encode()
    arrow = pa.Table.from_pandas(pd.read_csv(folder / "reviews.csv"))
    pq.write_table(arrow.replace_schema_metadata({b"huggingface": info}), folder / "reviews.parquet")
    rewrite(folder, 'path = "reviews.csv"\nsample', 'path = "reviews.parquet"\nsample')


@pytest.mark.parametrize(
    ("names", "values"),
    [(("pos", "neg"), ["1", "0"]), (("1", "2"), ["0", "1"]), (("NEGATIVE", "Positive"), ["0", "1"])],
)
def test_class_names_of_the_data_order_the_classes(
    tmp_path: Path, lab: Lab, names: tuple[str, str], values: list[str]
) -> None:
    folder = tiny_study(tmp_path / "tiny")
    class_label(folder, *names)
    study = pin(load_study(folder), lab)
    assert [one.value for one in study.classes] == values
    raw = pd.read_csv(folder / "reviews.csv").label[study.sample.index]
    assert [values[c] for c in study.sample.label] == [str(value) for value in raw]


def test_class_names_that_share_nothing_with_the_words_must_be_listed(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny")
    class_label(folder, "good", "bad")
    with pytest.raises(DatasetError, match=r"\"0\" named 'good', \"1\" named 'bad'.*list the label values in dataset"):
        pin(load_study(folder), lab)
    rewrite(folder, "sample = 20", "sample = 20\nlabels = [1, 0]")
    assert [(one.value, one.name, one.word) for one in pin(load_study(folder), lab).classes] == [
        ("1", "bad", "negative"),
        ("0", "good", "positive"),
    ]


def test_rows_that_share_no_names_with_the_classes_are_a_warning(tmp_path: Path, lab: Lab) -> None:
    folder = tiny_study(tmp_path / "tiny", (1, 2), "bert")
    assert not pin(load_study(folder), lab).warnings
    for epoch in (1, 2):
        config = folder / "checkpoints" / f"epoch-{epoch}" / "config.json"
        named = {"id2label": {"0": "good", "1": "bad"}, "label2id": {"good": 0, "bad": 1}}
        config.write_text(json.dumps(json.loads(config.read_text()) | named))
    study = pin(load_study(folder), lab)
    assert not study.missing
    assert len(study.warnings) == 1
    assert "head of epoch 1, epoch 2 (0 'good', 1 'bad') share no names with the classes" in study.warnings[0]
