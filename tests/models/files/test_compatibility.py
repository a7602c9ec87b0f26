"""What may stand beside a base, and what may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models

from backend.errors import CheckpointError
from backend.models.files.compatibility import compare_facts, compare_tokens, other_settings
from backend.study.facts import Facts
from tests.fake_texts import fake_tokenizer

BASE = Facts("GPT2LMHeadModel", 12, 768, 50_257, 124_000_000)


def test_a_larger_vocabulary_may_differ():
    compare_facts(replace(BASE, vocabulary=50_300, parameters=1), BASE, "here")
    extended = fake_tokenizer()
    extended.add_tokens(["<verdict>"])
    extended.add_special_tokens([AddedToken("<pad>", special=True)])
    compare_tokens(extended, fake_tokenizer(), "here")
    compare_tokens(fake_tokenizer(), extended, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "LlamaForCausalLM"}, "its architecture is LlamaForCausalLM, the base's GPT2LMHeadModel"),
        ({"layers": 6}, "its number of blocks is 6, the base's 12"),
        ({"width": 1024}, "its width of the residual stream is 1024, the base's 768"),
    ],
)
def test_another_model_is_refused(change: dict[str, object], message: str):
    with pytest.raises(CheckpointError, match=f"here cannot be compared with the base: {message}"):
        compare_facts(replace(BASE, **change), BASE, "here")  # pyright: ignore[reportArgumentType]


def words(*tokens: str) -> Tokenizer:
    return Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=tokens[0]))


def test_a_shared_id_that_decodes_differently_is_refused():
    with pytest.raises(CheckpointError, match="token 1 is 'bad' here and 'good' in the base"):
        compare_tokens(words("<unk>", "bad", "good"), words("<unk>", "good", "bad"), "here")
    compare_tokens(words("<unk>", "good"), words("<unk>", "good", "bad"), "here")


@pytest.mark.parametrize(
    ("own", "base", "says"),
    [
        ({"n_head": 2}, {"n_head": 4}, "here: config.json has n_head = 2 and that of the base 4"),
        ({"rope_theta": 1e6}, {"rope_theta": 1e4}, "has rope_theta = 1000000.0"),
        ({"rope_scaling": {"factor": 2.0}}, {"rope_scaling": None}, 'rope_scaling = {"factor": 2.0} and'),
        ({"layer_types": ["full"] * 99}, {"layer_types": []}, "... and that of the base []"),
        ({"n_head": 4, "attn_pdrop": 0.5, "dtype": "float16"}, {"n_head": 4, "attn_pdrop": 0.1}, None),
        ({"rope_parameters": {"rope_theta": 1e4}}, {"rope_theta": 1e4}, None),
        ({}, {"hidden_act": "gelu"}, None),
    ],
)
def test_settings_that_change_what_equal_weights_compute(own: dict[str, Any], base: dict[str, Any], says: str | None):
    found = other_settings(own, base, "here")
    assert found is None if says is None else says in str(found)
