"""PiSSA and OLoRA: merged as PEFT merges them onto the plain base, refused where the base has the wrong components."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from backend.models.files.adapters import read_adapter
from backend.models.files.locate import locate
from backend.models.runtime.merge_adapter import verdict_on
from backend.models.runtime.residual_base import overlaps
from tests.models.odd_adapters import configure
from tests.models.random_adapters import IDS, TARGETS, based, loaded, trained
from tests.models.random_models import ref

FAMILIES = ("llama", "gpt2")
STARTS = [("llama", "pissa"), ("llama", "olora"), ("gpt2", "pissa")]
"""Families and starts; PEFT's OLoRA takes no matrices that are stored transposed, as GPT-2's are."""


def verdict(adapter: Path, base: Path) -> str:
    return verdict_on(read_adapter(locate(ref(adapter)), locate(ref(base))), locate(ref(base)))


def made(folder: Path, family: str, start: Any) -> tuple[Any, Path, Path]:
    """A PEFT model on a random base, that base, and the adapter as saved."""
    base = based(family, folder / "base")
    options = {"target_modules": TARGETS[family], "fan_in_fan_out": family == "gpt2", "init_lora_weights": start}
    return trained(base, folder / "adapter", **options), base, folder / "adapter"


def residual(model: Any, folder: Path) -> Path:
    """The base of a PEFT model as its adapter left it, saved as the authors of PiSSA do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.unload().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("family", "start"), STARTS)
def test_a_plain_base_is_merged_as_peft_merges_it(tmp_path: Path, family: str, start: str):
    model, base, adapter = made(tmp_path, family, start)
    assert verdict(adapter, base) == ""
    ours = loaded(base, adapter).model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
        theirs = theirs.merge_and_unload()
    with torch.no_grad():
        expected, seen = theirs(IDS).logits, model(IDS).logits
    np.testing.assert_allclose(ours(IDS).logits.cpu(), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours(IDS).logits.cpu(), seen, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("family", "start"), STARTS)
def test_an_adapter_of_a_residual_base_fits_that_base_only(tmp_path: Path, family: str, start: str):
    model, base, adapter = made(tmp_path, family, start)
    with torch.no_grad():
        expected = model(IDS).logits
    rest = residual(model, tmp_path / "rest")
    assert "lacks them, as a base saved without them does; name the original base." in verdict(adapter, rest)
    configure(adapter, init_lora_weights=True)  # as the authors' scripts save it
    assert "holds main components of" in verdict(adapter, base)
    assert "merging would count them twice" in verdict(adapter, base)
    assert verdict(adapter, rest) == ""
    np.testing.assert_allclose(loaded(rest, adapter).model(IDS).logits.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal"])
def test_other_adapters_are_left_alone(tmp_path: Path, family: str, start: Any):
    _, base, adapter = made(tmp_path, family, start)
    assert verdict(adapter, base) == ""


def test_the_overlap_is_that_of_the_whole_matrices(tmp_path: Path):
    _, base, adapter = made(tmp_path, "llama", "pissa")
    config = json.loads((adapter / "adapter_config.json").read_text())
    held, weights = load_file(adapter / "adapter_model.safetensors"), load_file(base / "model.safetensors")
    expected = []
    for name in sorted(name for name in held if "lora_A" in name):
        change = (held[name.replace("lora_A", "lora_B")] @ held[name]).numpy() * config["lora_alpha"] / config["r"]
        plain = name.removeprefix("base_model.model.").replace(".lora_A", "")
        weight = weights[plain].float().numpy()
        inner = float((change * weight).sum())
        expected.append((inner / (change**2).sum(), inner / np.linalg.norm(change) / np.linalg.norm(weight)))
    found = list(overlaps(read_adapter(locate(ref(adapter)), locate(ref(base))), locate(ref(base))))
    known = [(one.share, one.cosine) for one in found]
    assert 1 < len(known) <= 6
    for pair in known:
        assert any(np.allclose(pair, other, rtol=1e-4) for other in expected)
