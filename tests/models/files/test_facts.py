"""Facts read without opening a model, against the model itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.errors import CheckpointError
from backend.models.architectures import family_of
from backend.models.files.facts import most_positions, read_facts
from backend.models.files.locate import locate
from backend.study.facts import Facts
from tests.models.random_models import LAYERS, POSITIONS, WIDTH, random_model, ref, save


def edit(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_facts_are_those_of_the_model(family: str, tmp_path: Path, shard: str):
    model = random_model(family)
    located = locate(ref(save(model, tmp_path / family, max_shard_size=shard)))
    assert read_facts(located, family) == Facts(
        architecture=type(model).__name__,
        layers=LAYERS,
        width=WIDTH,
        vocabulary=len(model.state_dict()[family_of(type(model).__name__, "here").embed + ".weight"]),
        parameters=sum(p.numel() for p in model.parameters()),
        longest=POSITIONS if family == "gpt2" else None,
    )
    assert most_positions(located) == (POSITIONS if family == "gpt2" else None)


@pytest.mark.parametrize(("dtype", "stored"), [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")])
def test_the_stored_dtype_and_its_memory(dtype: torch.dtype, stored: str, tmp_path: Path):
    model: Any = random_model("gpt2")
    model = model.to(dtype)
    facts = read_facts(locate(ref(save(model, tmp_path / "model"))), "here")
    assert facts.stored == stored
    assert facts.memory(stored) == facts.parameters * dtype.itemsize == sum(p.nbytes for p in model.parameters())


def test_a_config_that_names_no_class(gpt2: Path):
    edit(gpt2, architectures=None)
    assert read_facts(locate(ref(gpt2)), "here").architecture == "GPT2LMHeadModel"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["T5ForConditionalGeneration"]},
            "here: config.json names a T5ForConditionalGeneration, which is not a supported architecture",
        ),
        ({"architectures": None, "model_type": "t5"}, "here is a model of type t5, which"),
        ({"n_layer": "gone"}, "has no usable num_hidden_layers"),
        ({"n_embd": "wide"}, "has no usable hidden_size"),
    ],
)
def test_what_cannot_be_used_is_said(gpt2: Path, changes: dict[str, object], message: str):
    edit(gpt2, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_facts(locate(ref(gpt2)), "here")
