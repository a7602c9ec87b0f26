"""Which class reads a checkpoint, and what the rows of its head are called."""

from __future__ import annotations

import pytest

from backend.errors import CheckpointError
from backend.models.files.heads import answers_of, architecture_of, head_names, head_rows
from backend.models.files.safetensors_headers import Entry


def entries(*names: str) -> tuple[Entry, ...]:
    return tuple(Entry(name, "F32", (3, 4)) for name in names)


@pytest.mark.parametrize(
    ("model_type", "stored", "expected"),
    [
        ("gpt2", "wte.weight", "GPT2LMHeadModel"),
        ("gpt2", "score.weight", "GPT2ForSequenceClassification"),
        ("qwen3", "score.weight", "Qwen3ForSequenceClassification"),
        ("llama", "lm_head.weight", "LlamaForCausalLM"),
        ("bert", "classifier.weight", "BertForSequenceClassification"),
        ("bert", "cls.predictions.bias", "BertForMaskedLM"),
        ("bert", "qa_outputs.weight", "BertForQuestionAnswering"),
        ("bert", "pooler.dense.weight", "BertModel"),
        ("roberta", "classifier.out_proj.weight", "RobertaForSequenceClassification"),
        ("roberta", "lm_head.dense.weight", "RobertaForMaskedLM"),
        ("distilbert", "classifier.weight", "DistilBertForSequenceClassification"),
        ("distilbert", "vocab_transform.weight", "DistilBertForMaskedLM"),
        ("t5", "score.weight", "model of type t5"),
        ("bloom", "score.weight", "BloomForSequenceClassification"),
    ],
)
def test_a_config_without_a_class_gets_that_of_the_stored_head(model_type: str, stored: str, expected: str):
    assert architecture_of({"model_type": model_type, "architectures": None}, entries(stored), "here") == expected


def test_several_heads_are_read_by_the_class_that_is_named():
    both = entries("cls.predictions.bias", "cls.seq_relationship.weight", "classifier.weight")
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    assert architecture_of(config, both, "here") == "BertForSequenceClassification"
    with pytest.raises(CheckpointError, match=r"a BertForMaskedLM, which leaves the stored head .classifier.weight"):
        architecture_of(config | {"architectures": ["BertForMaskedLM"]}, both, "here")


def test_the_tensor_counts():
    stored = entries("classifier.weight")
    assert head_rows("BertForSequenceClassification", stored) == 3
    assert head_rows("RobertaForSequenceClassification", stored) is None
    assert head_rows("BertModel", stored) is None
    names = {"id2label": {"0": "a", "1": "b", "2": "c"}}
    assert answers_of({}, 3, "here") == answers_of(names, 3, "here") == answers_of({"num_labels": 3}, None, "here") == 3
    assert answers_of({}, None, "here") == 2
    for config in ({"num_labels": 2}, names | {"num_labels": 2}, {"id2label": {"0": "a", "1": "b"}}):
        with pytest.raises(CheckpointError, match=r"here has a head of 3 classes and .* in config.json has 2"):
            answers_of(config, 3, "here")


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ({"0": "negative", "1": "positive"}, ("negative", "positive")),
        ({"1": "negative", "0": "positive"}, ("positive", "negative")),
        ({"10": "k", **{str(i): chr(97 + i) for i in range(10)}}, tuple("abcdefghijk")),
        ({"0": "LABEL_0", "1": "LABEL_1"}, ()),
        ({"0": "LABEL_1", "1": "LABEL_0"}, ("LABEL_1", "LABEL_0")),
        ({"0": 1, "1": 0}, ("1", "0")),
        (None, ()),
    ],
)
def test_names_stand_in_the_order_of_the_rows(named: object, names: tuple[str, ...]):
    assert head_names({"id2label": named}, "here") == names


@pytest.mark.parametrize("named", [None, {"0": "LABEL_0", "1": "LABEL_1"}])
@pytest.mark.parametrize(
    ("back", "names"),
    [
        ({"negative": 1, "positive": 0}, ("positive", "negative")),
        ({"negative": "0", "positive": "1"}, ("negative", "positive")),
        ({"LABEL_0": 0, "LABEL_1": 1}, ()),
        ({"negative": 0, "positive": 2}, ()),
        ({"a": 0, "b": 0, "c": 1}, ()),
        (["negative", "positive"], ()),
    ],
)
def test_label2id_names_the_rows_that_id2label_leaves_unnamed(named: object, back: object, names: tuple[str, ...]):
    assert head_names({"id2label": named, "label2id": back}, "here") == names


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"id2label": {"1": "a", "2": "b"}}, "has the rows 1, 2; name the rows from 0"),
        ({"id2label": {"0": "a", "00": "b"}}, "has the rows 0, 00"),
        ({"id2label": {"a": "0"}}, "is not the number of a row"),
        ({"id2label": ["a", "b"]}, "is not the number of a row"),
        ({"id2label": {"0": "a", "1": "a"}}, r"gives two rows one name \(a, a\)"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, '"a" in row 0, and label2id in row 1'),
    ],
)
def test_names_that_cannot_be_read(config: dict[str, object], fault: str):
    with pytest.raises(CheckpointError, match=f"here: id2label in config.json .*{fault}"):
        head_names(config, "here")


def test_a_body_that_is_named_leaves_no_language_head_unread():
    config = {"model_type": "llama", "architectures": ["LlamaModel"]}
    assert architecture_of(config, entries("norm.weight"), "here") == "LlamaModel"
    with pytest.raises(CheckpointError, match=r"leaves the stored head .lm_head.weight. unread.*LlamaForCausalLM"):
        architecture_of(config, entries("norm.weight", "lm_head.weight"), "here")
