"""`make demo`: from labelled texts to a base and checkpoints that the study opens, and what a second run does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomlkit
from transformers import AutoModelForCausalLM

from backend.errors import LayershiftError
from backend.study.config import load_study
from backend.training import demo
from backend.training import pretrain as pretraining
from tests.fake_texts import fake_sample

SIZES = {"LAYERS": 1, "WIDTH": 16, "WINDOW": 32, "WINDOWS_PER_STEP": 4, "VOCABULARY": 300}
STUDY = {
    "title": "Demo",
    "family": "causal",
    "base": {"path": "checkpoints/base"},
    "checkpoints": [{"label": label, "path": f"checkpoints/{label}"} for label in ("step-2", "epoch-1")],
    "dataset": {"path": "reviews.csv", "labels": [0, 1], "sample": 16},
    "prompt": {"template": "{text} is", "label_words": ["bad", "good"], "separator": " ", "max_tokens": 27},
    "training": {"repo": "some/where", "epochs": 1, "batch_size": 4, "save_steps": [2], "sample": 16, "held_out": 8},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, size in SIZES.items():
        monkeypatch.setattr(pretraining, name, size)
        if hasattr(demo, name):
            monkeypatch.setattr(demo, name, size)
    monkeypatch.setattr(demo, "STEPS", 3)
    monkeypatch.setattr(demo, "pretrain", partial(pretraining.pretrain, steps=3))
    sample = fake_sample(40)
    pd.DataFrame({"text": sample.text, "label": sample.label}).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "study.toml").write_text(tomlkit.dumps(STUDY))
    return tmp_path


def test_a_demo_is_made_from_texts_alone(place: Path, capsys: pytest.CaptureFixture[str]):
    demo.build(place, place / "demo")
    said = capsys.readouterr().err
    assert "Pre-training the base takes about" in said and "Fine-tuning takes about" in said
    folders = place / "demo" / "checkpoints"
    assert sorted(one.name for one in folders.iterdir()) == ["base", "epoch-1", "step-2"]
    assert [one.name for one in folders.rglob("tokenizer.json")] == ["tokenizer.json"]  # the base's
    weights = {}
    for ref in load_study(place / "demo").refs:
        model: Any = AutoModelForCausalLM.from_pretrained(str(ref.path))
        weights[ref.label] = model.transformer.h[0].attn.c_attn.weight.detach().float().numpy()
    assert len({one.tobytes() for one in weights.values()}) == 3, "training has changed nothing"
    with pytest.raises(LayershiftError, match="exists already"):
        demo.build(place, place / "demo")
    assert "Pre-training" not in capsys.readouterr().err


def test_too_few_texts_to_hold_out_get_a_sentence(place: Path):
    demo.pretrain(fake_sample(40).text, place / "demo" / "checkpoints" / "base")
    file = place / "demo" / "study.toml"
    file.write_text(file.read_text().replace("held_out = 8", "held_out = 60"))
    with pytest.raises(LayershiftError, match="20 usable texts of one class, fewer than the 30 that"):
        demo.build(place, place / "demo")
