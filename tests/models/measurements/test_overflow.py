"""Values that are not finite in the dtype of a checkpoint are found on a few prompts, as in plain transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from backend.errors import CheckpointError
from backend.models.local import LocalModels
from tests.models.random_models import Pin, make_prompts, random_model, save

LARGE = 3e4
PROMPTS = make_prompts([5, 9, 6])


def large(folder: Path, factor: float, part: str = "layers.1.mlp") -> Path:
    """A Llama that is the larger inside, the larger the factor."""
    model = random_model("llama")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if part in name:
                value.mul_(factor)
    return save(model, folder)


def theirs(folder: Path, dtype: torch.dtype) -> int | None:
    """The first layer of plain transformers whose residuals are not finite; the last is read before the final norm."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    last: list[torch.Tensor] = []
    model.model.norm.register_forward_pre_hook(lambda _, args: last.append(args[0]))
    bad = set()
    for ids in PROMPTS.token_ids:
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        layers = [*states[:-1], last[-1]]
        bad |= {layer for layer, x in enumerate(layers) if not torch.isfinite(x[0, -1]).all()}
    return min(bad, default=None)


def test_the_layer_is_that_of_plain_transformers(models: LocalModels, pin: Pin, tmp_path: Path):
    found = {}
    for factor in (1.0, LARGE):
        folder = large(tmp_path / str(factor), factor)
        found[factor] = theirs(folder, torch.float16)
        if found[factor] is None:
            models.check_values(pin(folder, dtype="float16"), PROMPTS, run=True)
        else:
            with pytest.raises(CheckpointError, match=f"gives residuals from layer {found[factor]} on that are not"):
                models.check_values(pin(folder, dtype="float16"), PROMPTS, run=True)
    assert found[1.0] is None
    assert found[LARGE] == 2


def test_without_a_run_only_a_known_result_counts(models: LocalModels, pin: Pin, tmp_path: Path):
    checkpoint = pin(large(tmp_path / "large", LARGE), dtype="float16")
    models.check_values(checkpoint, PROMPTS, run=False)
    with pytest.raises(CheckpointError, match=r'not finite in float16; set dtype = "float32" in study.toml'):
        models.readout(checkpoint, PROMPTS, lambda *_: None)
    with pytest.raises(CheckpointError, match="not finite in float16"):
        models.check_values(checkpoint, PROMPTS, run=False)


def test_ordinary_weights_open_no_model(models: LocalModels, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "lend", lambda *_: pytest.fail("a model was opened"))
    models.check_values(pin(large(tmp_path / "plain", 1.0)), PROMPTS, run=True)
    with pytest.raises(CheckpointError, match=r"has a weight of [\d,]+ in .*, beyond the largest float16 \(65,504\)"):
        models.check_values(pin(large(tmp_path / "large", 1e8, "up_proj"), dtype="float16"), PROMPTS, run=False)
