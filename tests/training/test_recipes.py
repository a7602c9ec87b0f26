"""Rows and loss of both recipes, against hand-made cases and a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import PromptError
from backend.study.reader import fill, plain_reader
from backend.training.recipes import IGNORED, Collate, classified_rows, published_rows, sound_loss, sound_rows
from tests.fake_texts import fake_tokenizer
from tests.fakes import fake_definition
from tests.models.encoder_pairs import tokenizer as letters

TEXTS = ("The script wastes every good idea it borrows.", "The script stayed with me for days. " * 20)
LABELS = np.array([0, 1])


def test_sound_rows_are_the_analysed_prompt_and_the_label_word(tmp_path: Path) -> None:
    study, tokenizer = fake_definition(tmp_path), fake_tokenizer()
    rows = sound_rows(study, tokenizer, TEXTS, LABELS, context=512)
    for row, text, label in zip(rows.rows, TEXTS, LABELS, strict=True):
        prompt = list(fill(plain_reader(tokenizer, study.prompt, "causal"), text).ids)
        answer = tokenizer.encode(f" {study.prompt.label_words[label]}").ids
        assert row["input_ids"] == prompt + answer
        assert row["answer"] == [0] * len(prompt) + [1] * len(answer)


def test_pairs_fill_the_template_of_either_recipe(tmp_path: Path) -> None:
    study, tokenizer = fake_definition(tmp_path), fake_tokenizer()
    changed = {"template": "One: {b} Two: {a} Same:", "fields": ("a", "b")}
    study = study.model_copy(update={"prompt": study.prompt.model_copy(update=changed)})
    pair, word = ("The script", "a film"), study.prompt.label_words[1]
    whole = tokenizer.encode(f"One: a film Two: The script Same: {word}").ids
    (sound,) = sound_rows(study, tokenizer, [pair], LABELS[1:], context=512).rows
    (published,) = published_rows(study, tokenizer, [pair], LABELS[1:], pad=0).rows
    assert sound["input_ids"] == whole
    assert published["input_ids"][: len(whole)] == whole and sum(published["attention_mask"]) == len(whole)


def test_an_encoders_rows_have_the_token_types_of_transformers(tmp_path: Path) -> None:
    tokens = letters("Bert")
    spec = fake_definition(tmp_path).prompt.model_copy(update={"template": "{a} {b}", "fields": ("a", "b")})
    reader = plain_reader(tokens.backend_tokenizer, spec, "encoder", token_types=True)
    rows = classified_rows(reader, [("ab", "c"), ("a", "b")], LABELS).rows
    expected = [tokens("ab", "c"), tokens("a", "b")]
    assert [row["input_ids"] for row in rows] == [one["input_ids"] for one in expected]
    assert [row["token_type_ids"] for row in rows] == [one["token_type_ids"] for one in expected]
    batch, wanted = Collate(0)(list(rows)), tokens.pad(expected, return_tensors="pt")
    assert all(torch.equal(batch[name], wanted[name]) for name in ("input_ids", "attention_mask", "token_type_ids"))
    assert batch["labels"].tolist() == [0, 1]


def test_a_prompt_longer_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"need 97 positions, but the model has 64; lower prompt\.max_tokens to 63"):
        sound_rows(fake_definition(tmp_path), fake_tokenizer(), TEXTS, LABELS, context=64)


def test_published_rows_cut_the_label_off_and_train_on_padding(tmp_path: Path) -> None:
    study, tokenizer = fake_definition(tmp_path), fake_tokenizer()
    short, long = published_rows(study, tokenizer, TEXTS, LABELS, pad=0).rows
    assert len(short["input_ids"]) == len(long["input_ids"]) == study.prompt.max_tokens
    negative, positive = (tokenizer.encode(f" {word}").ids[0] for word in study.prompt.label_words)
    assert negative in short["input_ids"] and positive not in long["input_ids"]
    batch = Collate(0)([short, long])
    assert torch.equal(batch["labels"], batch["input_ids"])
    assert batch["attention_mask"].sum(1).tolist() == [sum(short["attention_mask"]), study.prompt.max_tokens]


def test_sound_padding_is_not_trained_on() -> None:
    batch = Collate(9)([{"input_ids": [1, 2, 3], "answer": [0, 0, 1]}, {"input_ids": [4], "answer": [1]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["labels"].tolist() == [[1, 2, 3], [4, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["answer"].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_sound_loss_is_the_mean_over_tokens_plus_the_mean_over_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 7, generator=generator) * 3
    labels = torch.tensor([[1, 2, 3, 4], [5, 6, 1, IGNORED]])
    answer = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 0]])
    every, answers = [], []
    for row in range(2):
        for position in range(1, 4):
            target = int(labels[row, position])
            if target == IGNORED:
                continue
            scores = logits[row, position - 1].double().numpy()
            loss = np.log(np.exp(scores).sum()) - scores[target]
            every.append(loss)
            if answer[row, position]:
                answers.append(loss)
    expected = np.mean(every) + np.mean(answers)
    assert float(sound_loss(logits, labels, answer)) == pytest.approx(expected, rel=1e-5)
