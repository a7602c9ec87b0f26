"""Differences against plain transformers and numpy: a checkpoint, its twin of another seed, one's own texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from backend import wiring
from backend.analyses import activation_differences, logit_differences, side_effects
from backend.derived.model_differences import compared
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.study.config import load_study
from backend.study.pinned import PinnedStudy
from tests.fake_texts import fake_tokenizer
from tests.tiny import rewrite, tiny_study

OWN = ("The script is funny.", "The score drags on and on.", "A cast this size", "stayed with me for days.")


@pytest.fixture(params=["gpt2", "llama"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PinnedStudy, Lab]]:
    """A study whose second checkpoint repeats the first with another seed, with texts of its own."""
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    wiring.open_lab.cache_clear()
    folder = tiny_study(tmp_path / "tiny", (1, 2), request.param)
    rewrite(folder, 'label = "epoch 2"', 'label = "epoch 2"\nseed_of = "epoch 1"')
    rewrite(folder, "[training]", '[difference]\ntexts = "mine.txt"\n[training]')
    (folder / "mine.txt").write_text("\n".join(OWN))
    lab = wiring.open_lab()
    yield pin(load_study(folder), lab), lab
    wiring.open_lab.cache_clear()


@torch.no_grad()
def read(place: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Residuals entering every block (text by text) and log-probabilities, float64."""
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    states, logs = [], []
    for text in OWN:
        out = model(torch.tensor([fake_tokenizer().encode(text).ids]), output_hidden_states=True)
        states.append(np.stack([state[0].double().numpy() for state in out.hidden_states[:-1]]))
        logs.append(out.logits[0, :-1].double().log_softmax(-1).numpy())
    return states, logs


def test_every_pair_is_compared_on_every_set(opened: tuple[PinnedStudy, Lab]):
    study, _ = opened
    pairs = [(one.label, other.label, name) for one, other, name in compared(study, "base")]
    expected = [("epoch 1", "base"), ("epoch 2", "base"), ("epoch 2", "epoch 1")]
    assert pairs == [(*pair, name) for pair in expected for name in ("neutral", "sample", "own")]
    twice = [(one.label, other.label) for one, other, _ in compared(study, "epoch 1")]
    assert len(twice) == len(set(twice)) * 3, "no pair twice"


def test_the_floor_of_a_second_seed_is_the_difference_of_the_twins(opened: tuple[PinnedStudy, Lab]):
    study, lab = opened
    (asked,) = [
        one
        for one in activation_differences.queries(study)
        if (one.reference.label, one.texts.name) == ("epoch 1", "own")
    ]
    result = activation_differences.recipe(asked, lab)
    (repeat, after), (twin, before) = (read(one.ref.path or "") for one in (asked.checkpoint, asked.reference))
    layers = len(repeat[0])
    for layer in range(layers):
        change = np.concatenate([a[layer] - b[layer] for a, b in zip(repeat, twin, strict=True)])
        length = np.concatenate([np.linalg.norm(b[layer], axis=-1) for b in twin]).mean()
        assert result.norm[-1, layer] == pytest.approx(np.linalg.norm(change.mean(axis=0)), rel=1e-3)
        assert result.residual_norm[-1, layer] == pytest.approx(length, rel=1e-3)
        first = np.mean([a[layer][0] - b[layer][0] for a, b in zip(repeat, twin, strict=True)], axis=0)
        assert result.norm[0, layer] == pytest.approx(np.linalg.norm(first), rel=1e-3)
    kl = np.concatenate([(np.exp(p) * (p - q)).sum(-1) for p, q in zip(before, after, strict=True)])
    probability = np.concatenate([np.exp(q) - np.exp(p) for p, q in zip(before, after, strict=True)]).mean(axis=0)
    (asked,) = [
        one for one in logit_differences.queries(study) if (one.reference.label, one.texts.name) == ("epoch 1", "own")
    ]
    found = logit_differences.recipe(asked, lab)
    assert found.kl.value == pytest.approx(kl.mean(), rel=1e-3)
    np.testing.assert_allclose(found.change.value, probability[found.token_id], rtol=1e-3, atol=1e-6)
    assert found.change.value.max() == pytest.approx(probability.max(), rel=1e-3)
    rows = [*found.rows(asked)]
    assert {(row["checkpoint"], row["reference"]) for row in rows} == {("epoch 2", "epoch 1")}


def test_gain_and_price_of_a_second_seed(opened: tuple[PinnedStudy, Lab]):
    study, lab = opened
    asked = side_effects.queries(study)
    assert [(one.checkpoint.label, one.reference.label) for one in asked] == [
        ("epoch 1", "base"),
        ("epoch 2", "epoch 1"),
    ]
    floor = side_effects.recipe(asked[1], lab)
    logits = [lab.models.readout(one, study.prompts, lab.progress).logits for one in study.checkpoints[1:]]
    before, after = (each[:, 1].astype(float) - each[:, 0] for each in logits)
    labels = study.prompts.labels
    gap = (after - before)[labels == 1].mean() - (after - before)[labels == 0].mean()
    assert floor.gain.value[1] == pytest.approx(gap, rel=1e-3)
    assert floor.kl.low[1] > 0
