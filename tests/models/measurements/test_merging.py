"""Merged against unmerged adapters, compared with plain peft and numpy; and merges that are wrong."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.models.files.locate import locate
from backend.models.measurements.merging import merging
from backend.models.runtime.devices import choose_device
from backend.models.runtime.load import LoadedModel, open_model, open_unmerged
from backend.study.token_ids import Prompts
from tests.models.random_adapters import TARGETS, based, loaded, trained
from tests.models.random_models import ref

IDS = ((3, 1, 4, 1, 5), (9, 2, 6), (5, 3, 5, 8), (9, 7), (9, 3, 2))
ARCHITECTURES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
CASES = [
    ("gpt2", "LORA", {"fan_in_fan_out": True}),
    ("gpt2", "IA3", {"target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}),
    ("llama", "LORA", {"lora_dropout": 0.5}),
    ("llama", "LORA", {"use_dora": True}),
    ("llama", "OFT", {}),
]


def prompts(ids: tuple[tuple[int, ...], ...] = IDS) -> Prompts:
    return Prompts("p", ids, np.zeros(len(ids), np.int64), (1, 2), np.zeros(len(ids), bool))


def unmerged(base: Path, adapter: Path, dtype: str = "float32") -> Any:
    return open_unmerged(locate(ref(base)), locate(ref(adapter)), choose_device(), dtype, None)


def pair(tmp_path: Path, name: str, kind: str, options: dict[str, Any]) -> tuple[Path, Path, Any]:
    base = based(name, tmp_path / "base")
    if kind == "IA3":
        options = {"fan_in_fan_out": True, **options}
    options = {"target_modules": TARGETS[name], **options}
    model = trained(base, tmp_path / "adapter", kind, **options)
    return base, tmp_path / "adapter", model


@torch.no_grad()
def plain(model: Any, ids: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return [state[0].numpy() for state in out.hidden_states], out.logits[0].numpy()


def worst(one: Any, other: Any) -> tuple[list[float], float]:
    """The largest relative difference of each hidden state over the first four prompts, and of a logit."""
    layers: list[float] = []
    logit = 0.0
    for ids in IDS[:4]:
        (a, p), (b, q) = plain(one, ids), plain(other, ids)
        each = [
            max(float(np.linalg.norm(x[t] - y[t]) / np.linalg.norm(y[t])) for t in range(len(ids)))
            for x, y in zip(a, b, strict=True)
        ]
        layers = each if not layers else list(map(max, layers, each))
        logit = max(logit, float(np.abs(p - q).max()))
    return layers, logit


@pytest.mark.parametrize(("name", "kind", "options"), CASES)
def test_the_numbers_are_those_of_plain_peft(name: str, kind: str, options: dict[str, Any], tmp_path: Path):
    base, adapter, model = pair(tmp_path, name, kind, options)
    found = merging(loaded(base, adapter), unmerged(base, adapter), prompts())
    assert found.residual.max() < 1e-4 and found.logit < 1e-4 * found.largest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with model.disable_adapter():
            off = [plain(model, ids) for ids in IDS[:4]]
    on = [plain(model, ids) for ids in IDS[:4]]
    for layer in range(len(found.active)):
        moved = max(
            np.linalg.norm(a[0][layer][t] - b[0][layer][t]) / np.linalg.norm(b[0][layer][t])
            for a, b in zip(off, on, strict=True)
            for t in range(len(b[1]))
        )
        assert found.active[layer] == pytest.approx(moved, rel=1e-3, abs=1e-6)
    assert found.active.max() > 1e-2
    assert found.active_logit == pytest.approx(
        max(np.abs(a[1] - b[1]).max() for a, b in zip(off, on, strict=True)), rel=1e-3
    )
    assert found.largest == pytest.approx(max(np.abs(b[1]).max() for b in on), rel=1e-3)
    assert found.tokens == 14


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_merge_at_twice_the_strength_is_measured(name: str, tmp_path: Path):
    """As if the scale alpha / r were applied twice."""
    base, adapter, model = pair(tmp_path, name, "LORA", {"fan_in_fan_out": name == "gpt2"})
    wrong = loaded(base, adapter)
    plain_base = open_model(locate(ref(base)), None, ARCHITECTURES[name], choose_device(), "float32", None).model
    with torch.inference_mode():
        weights = dict(wrong.model.named_parameters())
        for key, before in plain_base.named_parameters():
            weights[key].add_(weights[key].clone() - before)
    found = merging(wrong, unmerged(base, adapter), prompts())
    layers, logit = worst(wrong.model, model)
    np.testing.assert_allclose(found.residual, layers, rtol=1e-3, atol=1e-6)
    assert found.logit == pytest.approx(logit, rel=1e-3)
    assert found.residual.max() > 1e-2


def test_an_adapter_that_was_never_merged_differs_by_all_it_does(tmp_path: Path):
    base, adapter, _ = pair(tmp_path, "llama", "LORA", {})
    alone = open_model(locate(ref(base)), None, "LlamaForCausalLM", choose_device(), "float32", None)
    found = merging(alone, unmerged(base, adapter), prompts())
    np.testing.assert_allclose(found.residual, found.active, rtol=1e-4, atol=1e-6)
    assert found.logit == pytest.approx(found.active_logit, rel=1e-4)


def test_merging_in_half_precision_rounds_more(tmp_path: Path):
    base, adapter, _ = pair(tmp_path, "llama", "LORA", {})
    located = locate(ref(base))
    half = open_model(located, locate(ref(adapter)), "of the base", choose_device(), "bfloat16", None)
    found = merging(half, unmerged(base, adapter, "bfloat16"), prompts())
    exact = merging(loaded(base, adapter), unmerged(base, adapter), prompts())
    assert 1e-3 < found.residual.max() < 0.1
    assert exact.residual.max() < 1e-4


def test_a_model_without_a_head_has_residuals_only(tmp_path: Path):
    base, adapter, _ = pair(tmp_path, "llama", "LORA", {})
    located = locate(ref(base)), locate(ref(adapter))
    body: LoadedModel = open_model(*located, "LlamaForCausalLM", choose_device(), "float32", None, without_head=True)
    found = merging(body, unmerged(base, adapter), prompts())
    assert np.isnan(found.logit) and found.residual.max() < 1e-4
