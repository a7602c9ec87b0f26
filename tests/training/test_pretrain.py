"""The demo's base: an interrupted training goes on from its last saved state, and leaves a model that opens alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

from backend.training import pretrain as pretraining
from tests.fake_texts import fake_sample


def test_an_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, size in {"LAYERS": 1, "WIDTH": 16, "WINDOW": 16, "WINDOWS_PER_STEP": 4, "VOCABULARY": 300}.items():
        monkeypatch.setattr(pretraining, name, size)
    texts, out, steps = fake_sample(40).text, tmp_path / "base", list[int]()
    step = Trainer.training_step

    def counted(trainer: Any, *given: Any, **more: Any) -> torch.Tensor:
        steps.append(trainer.state.global_step)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        return step(trainer, *given, **more)

    monkeypatch.setattr(Trainer, "training_step", counted)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(texts, out, steps=5)
    assert not out.exists()
    pretraining.pretrain(texts, out, steps=5)
    assert steps == [0, 1, 2, 2, 3, 4]
    assert [place.name for place in tmp_path.iterdir()] == ["base"]
    model = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.float16
    ids = AutoTokenizer.from_pretrained(out)(texts[0], return_tensors="pt")["input_ids"][:, :16]
    assert torch.isfinite(model.float()(input_ids=ids).logits).all()
