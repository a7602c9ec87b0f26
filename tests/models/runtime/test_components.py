"""The parts of a model, against TransformerLens' own map of the same architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2ForTokenClassification

from backend.errors import CheckpointError
from backend.models.architectures import family_of
from backend.models.runtime.components import anatomy_of
from tests.models.random_models import ARCHITECTURES, LAYERS, random_model


def test_the_paths_are_those_of_transformer_lens(family: str, folder: Path):
    theirs = TransformerBridge.boot_transformers(str(folder), device="cpu").adapter.component_mapping
    assert theirs is not None
    ours = family_of(ARCHITECTURES[family][1].__name__, "here")
    for name in ("embed", "blocks", "unembed"):
        assert getattr(ours, name) == theirs[name].name
    model = random_model(family)
    components = anatomy_of(model)
    assert components.ln_final is model.get_submodule(str(theirs["ln_final"].name))
    for block in components.blocks:
        for name in ("ln1", "attn", "ln2", "mlp"):
            assert getattr(block, name) is block.whole.get_submodule(str(theirs["blocks"].submodules[name].name))


def test_the_parts_are_those_of_the_model(family: str):
    model = random_model(family)
    components = anatomy_of(model)
    assert components.embed is model.get_input_embeddings()
    assert components.unembed is model.get_output_embeddings()
    assert len(components.blocks) == LAYERS
    in_blocks = {id(p) for block in components.blocks for p in block.whole.parameters()}
    named = {
        id(p)
        for block in components.blocks
        for part in (block.ln1, block.attn, block.ln2, block.mlp)
        if part is not None
        for p in part.parameters()
    }
    assert in_blocks == named
    rest = [
        components.embed,
        components.ln_final,
        components.unembed,
        *([model.get_submodule("transformer.wpe")] if family == "gpt2" else []),
    ]
    assert {id(p) for p in model.parameters()} == named | {id(p) for part in rest for p in part.parameters()}


def test_an_unknown_architecture_is_an_error():
    with pytest.raises(
        CheckpointError, match="is a GPT2ForTokenClassification, which is not a supported architecture; use"
    ):
        anatomy_of(GPT2ForTokenClassification(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=20)))
