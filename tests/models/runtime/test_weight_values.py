"""The scan of stored weights agrees with torch, and zeros that make a model answer every text alike are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from backend.errors import CheckpointError
from backend.models.files.locate import locate
from backend.models.runtime.weight_values import check_model, check_values
from tests.models.random_encoders import encoder
from tests.models.random_models import random_model, ref, save

FILE = "model.safetensors"


def zero(folder: Path, *parts: str) -> None:
    held = load_file(folder / FILE)
    changed = {name: value * 0 if any(part in name for part in parts) else value for name, value in held.items()}
    save_file(changed, folder / FILE, {"format": "pt"})


def test_the_largest_weight_is_torchs(gpt2: Path):
    found = check_values(locate(ref(gpt2)))
    largest = {name: float(value.abs().max()) for name, value in load_file(gpt2 / FILE).items()}
    assert found.value == pytest.approx(max(largest.values()))
    assert largest[found.name] == found.value
    assert check_model(locate(ref(gpt2)), "GPT2LMHeadModel") == found


def test_a_negative_weight_may_be_the_largest(gpt2: Path):
    held = load_file(gpt2 / FILE)
    held["transformer.h.1.mlp.c_fc.weight"][0, 0] = -1e6
    save_file(held, gpt2 / FILE, {"format": "pt"})
    assert check_values(locate(ref(gpt2))).name == "transformer.h.1.mlp.c_fc.weight"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named(gpt2: Path, value: float):
    held = load_file(gpt2 / FILE)
    held["transformer.h.1.mlp.c_fc.weight"][3, 2] = value
    save_file(held, gpt2 / FILE, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"not finite \(transformer.h.1.mlp.c_fc.weight\)"):
        check_values(locate(ref(gpt2)))


def test_a_block_of_zeros_is_a_model(gpt2: Path):
    zero(gpt2, "h.1.", "wpe")
    assert check_model(locate(ref(gpt2)), "GPT2LMHeadModel").value > 0


@pytest.mark.parametrize("wrapper", ["", "_orig_mod."])
def test_an_embedding_of_zeros_is_refused(gpt2: Path, wrapper: str):
    zero(gpt2, "wte")
    held = load_file(gpt2 / FILE)
    save_file({wrapper + name: value for name, value in held.items()}, gpt2 / FILE, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"holds only zeros in .*transformer.wte.weight"):
        check_model(locate(ref(gpt2)), "GPT2LMHeadModel")


def test_a_head_of_zeros_is_refused(tmp_path: Path):
    llama, bert = save(random_model("llama"), tmp_path / "llama"), save(encoder("Bert"), tmp_path / "bert")
    zero(llama, "lm_head")
    zero(bert, "classifier")
    with pytest.raises(CheckpointError, match=r"holds only zeros in lm_head.weight"):
        check_model(locate(ref(llama)), "LlamaForCausalLM")
    with pytest.raises(CheckpointError, match=r"holds only zeros in classifier.weight"):
        check_model(locate(ref(bert)), "BertForSequenceClassification")


def test_matrices_of_zeros_are_refused(gpt2: Path):
    zero(gpt2, "weight")
    with pytest.raises(CheckpointError, match="only zeros in transformer"):
        check_model(locate(ref(gpt2)), "GPT2LMHeadModel")
