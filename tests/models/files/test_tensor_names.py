"""Names of stored tensors without what was put around the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import CheckpointError
from backend.models.files.locate import locate
from backend.models.files.tensor_names import model_tensors, plain_names, renamed
from tests.models.odd_folders import put, wrapped
from tests.models.random_models import ref


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        (["transformer.wte.weight", "lm_head.weight"], ["transformer.wte.weight", "lm_head.weight"]),
        (["wte.weight", "h.0.ln_1.bias"], ["wte.weight", "h.0.ln_1.bias"]),
        (["module.wte.weight", "module.h.0.ln_1.bias"], ["wte.weight", "h.0.ln_1.bias"]),
        (["_orig_mod.module.model.norm.weight"], ["model.norm.weight"]),
        (["model._orig_mod.layers.0._orig_mod.self_attn.k_proj.weight"], ["model.layers.0.self_attn.k_proj.weight"]),
        (["model.embed_tokens.weight", "model.norm.weight"], ["model.embed_tokens.weight", "model.norm.weight"]),
        (["model.model.embed_tokens.weight", "model.lm_head.weight"], ["model.embed_tokens.weight", "lm_head.weight"]),
        (
            ["net.encoder.bert.embeddings.word_embeddings.weight", "net.classifier.weight"],
            ["bert.embeddings.word_embeddings.weight", "net.classifier.weight"],
        ),
        (["a.wte.weight", "b.wte.weight"], ["a.wte.weight", "b.wte.weight"]),  # two models: which is meant?
        (["submodule.wte.weight.x"], ["submodule.wte.weight.x"]),
    ],
)
def test_what_stands_around_a_model_goes(stored: list[str], plain: list[str]):
    assert list(plain_names(stored).values()) == plain


def test_the_names_of_a_file(gpt2: Path):
    before = {entry.name: entry for entry in model_tensors(locate(ref(gpt2)))}
    assert renamed(locate(ref(gpt2))) == {}
    wrapped("_orig_mod.")(gpt2)
    assert {entry.name: entry for entry in model_tensors(locate(ref(gpt2)))} == before
    assert renamed(locate(ref(gpt2))) == {f"_orig_mod.{name}": name for name in before}
    put("transformer.ln_f.bias", 32)(gpt2)
    with pytest.raises(CheckpointError, match=r"twice \(_orig_mod.transformer.ln_f.bias and transformer.ln_f.bias\)"):
        renamed(locate(ref(gpt2)))
