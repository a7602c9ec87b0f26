"""Texts without labels, for causal models and encoders, and their groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.derived.texts import NEUTRAL, SAMPLE, groups_of, plain_prompts, texts
from backend.vocabulary import neutral
from tests.fake_texts import fake_tokenizer
from tests.fakes import fake_lab, fake_study
from tests.models.encoder_pairs import tokenizer


def test_the_study_s_texts_or_the_neutral_sentences(tmp_path: Path):
    study, lab = fake_study(epochs=1), fake_lab(tmp_path)
    pair = (study.checkpoints[1], study.base)
    own = texts(study, *pair, SAMPLE).read(lab)
    assert own.token_ids[5] == tuple(fake_tokenizer().encode(study.sample.text[5]).ids[-96:])  # without the template
    assert texts(study, *pair, SAMPLE).prompts is own  # tokenized once
    found = texts(study, *pair, NEUTRAL).read(lab)
    assert len(found.token_ids) == len(neutral.sentences()) and found.readout == "last"
    assert found.token_ids[3] == tuple(fake_tokenizer().encode(neutral.sentences()[3]).ids)
    assert found.classes == 1


def test_a_long_text_keeps_the_end_that_the_study_keeps(tmp_path: Path):
    study = fake_study(epochs=1)
    prompt = study.study.prompt.model_copy(update={"keep": "start", "max_tokens": 6})
    study = replace(study, study=study.study.model_copy(update={"prompt": prompt}))
    found = texts(study, study.checkpoints[1], study.base, SAMPLE).read(fake_lab(tmp_path))
    whole = [fake_tokenizer().encode(text).ids for text in study.sample.text]
    assert any(len(ids) > 6 for ids in whole)
    assert found.token_ids == tuple(tuple(ids[:6]) for ids in whole)


def test_an_encoder_keeps_its_special_tokens():
    own = tokenizer("Bert")
    found = plain_prompts(own.backend_tokenizer, ["abc d"], "encoder", 64)
    assert found.readout == "first" and list(found.token_ids[0]) == own("abc d")["input_ids"]


@pytest.mark.parametrize("count", [5, 16, 133])
def test_groups_are_of_equal_size(count: int):
    groups = groups_of(count, 0)
    sizes = np.bincount(groups)
    assert len(sizes) == min(16, count) and sizes.max() - sizes.min() <= 1
    assert (groups == groups_of(count, 0)).all()
