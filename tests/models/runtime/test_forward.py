"""Indices that a model has no row for are found on the CPU, before anything runs on its device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from backend.errors import CheckpointError
from backend.models.measurements.logit_lens import label_logits
from backend.models.runtime.forward import check_indices, pad, pick
from backend.study.token_ids import Columns
from tests.models.random_encoders import encoder
from tests.models.random_models import as_opened, random_model


def opt() -> Any:
    """Its table of positions has two rows that no position uses."""
    sizes: dict[str, Any] = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_attention_heads": 2}
    return OPTForCausalLM(OPTConfig(vocab_size=50, num_hidden_layers=1, max_position_embeddings=20, **sizes)).eval()


@pytest.mark.parametrize(
    ("make", "most"), [(lambda: random_model("gpt2"), 64), (opt, 20), (lambda: encoder("Bert"), 64)]
)
def test_the_last_position_is_read_and_the_next_one_is_an_error(make, most: int):
    loaded = as_opened(make())
    model: Any = loaded.model
    with torch.no_grad():
        model(input_ids=pad([(3,) * most], "last", loaded)[0])
    with pytest.raises(CheckpointError, match=rf"has {most} positions, numbered from 0, .* use position {most};"):
        pad([(3,), (3,) * (most + 1)], "last", loaded)


def test_roberta_counts_positions_after_its_padding():
    loaded = as_opened(encoder("Roberta"))
    most = loaded.rows("position")
    assert most is not None
    model: Any = loaded.model
    with torch.no_grad():
        model(input_ids=pad([(3,) * most], "first", loaded)[0])
    with pytest.raises(CheckpointError, match=f"use position {most};"):
        pad([(3,) * (most + 1)], "first", loaded)


def test_tokens_and_token_types_that_there_are_not():
    gpt2, bert, llama = (as_opened(model) for model in (random_model("gpt2"), encoder("Bert"), random_model("llama")))
    rows = gpt2.rows("token")
    assert rows is not None
    check_indices(gpt2, [(0, rows - 1)])
    for ids in ((rows,), (0, -1)):
        with pytest.raises(CheckpointError, match=f"has {rows} tokens, numbered from 0"):
            check_indices(gpt2, [(1, 2), ids])
    check_indices(bert, [(1, 2)], [(0, 1)])
    with pytest.raises(CheckpointError, match=r"has 2 token types, .* use token type 2"):
        check_indices(bert, [(1, 2)], [(0, 2)])
    assert llama.rows("position") is None, "rotary positions have no table"
    check_indices(llama, [(1,) * 500])


def test_columns_that_there_are_not():
    with pytest.raises(CheckpointError, match="has 3 outputs, numbered from 0, and output 3 is asked for"):
        pick(torch.zeros(2, 3), Columns((1, 3)))
    loaded = as_opened(random_model("llama"))
    vocabulary = loaded.rows("token") or 0
    with pytest.raises(CheckpointError, match=f"output {vocabulary} is asked for"):
        label_logits(torch.zeros(2, 32).numpy(), Columns((vocabulary,)), loaded, None)
