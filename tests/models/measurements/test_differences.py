"""Residuals and predictions of two models against plain transformers and numpy, one text at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from transformers import PreTrainedModel

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError
from backend.models.local import LocalModels
from backend.models.measurements import output_space
from backend.models.measurements.differences import differences
from backend.models.measurements.promoted_tokens import promoted
from backend.study.token_ids import Prompts
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import LAYERS, Pin, as_opened, make_prompts, random_model, save
from tests.models.references import hooks, plain_residuals
from tests.tiny_families import tiny

POSITIONS = 3
LENGTHS = [7, 40, 2, 23, 5]
GROUPS = np.array([0, 1, 2, 0, 1])


def of_layout(name: str, seed: int) -> PreTrainedModel:
    if name == "mixtral":
        return tiny("MixtralForCausalLM", seed)
    return encoder("Bert", seed=seed) if name == "bert" else random_model(name, seed=seed)


def prompts_of(name: str) -> Prompts:
    return some_prompts() if name == "bert" else make_prompts(LENGTHS, vocabulary=90 if name == "mixtral" else None)


def expected(models: list[PreTrainedModel], prompts: Any, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over groups of differences and lengths at every place and layer, text by text."""
    total: Any = np.zeros((groups.max() + 1, POSITIONS + 1, LAYERS + 1, 32))
    lengths, count = np.zeros(total.shape[:3]), np.zeros(total.shape[:2], np.int64)
    for layer in range(LAYERS + 1):
        pairs = zip(*(plain_residuals(one, prompts, layer) for one in models), groups, strict=True)
        for before, after, g in pairs:
            for k in range(POSITIONS + 1):
                at = slice(None) if k == POSITIONS else slice(k, k + 1)
                total[g, k, layer] += (after - before)[at].sum(axis=0)
                lengths[g, k, layer] += np.linalg.norm(before[at], axis=1).sum()
                count[g, k] += len(before[at]) if layer == 0 else 0
    return {"total": total, "lengths": lengths, "count": count}


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "mixtral"])
def test_residuals_agree_with_plain_transformers(name: str):
    prompts = prompts_of(name)
    groups = np.arange(len(prompts.token_ids)) % 3
    models = [of_layout(name, seed) for seed in (0, 1)]
    found = differences(as_opened(models[1]), as_opened(models[0]), prompts, groups, POSITIONS, silent)
    assert (found.predictions is None) == (name == "bert")
    for field, values in expected(models, prompts, groups).items():
        got = getattr(found, field)
        assert got.shape == values.shape and not got.flags.writeable, field
        np.testing.assert_allclose(got, values, rtol=1e-3, atol=1e-3, err_msg=field)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_predictions_agree_with_plain_transformers(name: str, monkeypatch: pytest.MonkeyPatch):
    prompts, models = prompts_of(name), [of_layout(name, seed) for seed in (0, 1)]
    monkeypatch.setattr(output_space, "CHUNK_VALUES", 11 * models[0].config.vocab_size)  # chunks end within texts
    found = differences(as_opened(models[1]), as_opened(models[0]), prompts, GROUPS, POSITIONS, silent).predictions
    assert found is not None
    sums, start = np.zeros((3, 2, models[0].config.vocab_size)), 0
    for i, ids in enumerate(prompts.token_ids):
        with torch.no_grad():
            p, q = (log_softmax(one(torch.tensor([ids])).logits[0].double().numpy(), axis=-1)[:-1] for one in models)
        here = slice(start, start + len(ids) - 1)
        assert (found.text[here] == i).all() and found.position[here].tolist() == list(range(len(ids) - 1))
        assert found.following[here].tolist() == list(ids[1:])
        np.testing.assert_allclose(found.kl[here], (np.exp(p) * (p - q)).sum(axis=1), rtol=1e-3, atol=1e-6)
        rise, fall = np.exp(q) * (q - p), np.exp(p) * (p - q)
        for got, tokens, theory in ((found.rise, found.rising, rise), (found.fall, found.falling, fall)):
            np.testing.assert_allclose(got[here], -np.sort(-theory, axis=1)[:, :10], rtol=1e-3, atol=1e-6)
            np.testing.assert_allclose(
                np.take_along_axis(theory, tokens[here], axis=1), got[here], rtol=1e-3, atol=1e-6
            )
        sums[GROUPS[i]] += np.exp([p, q]).sum(axis=1)
        start += len(ids) - 1
    np.testing.assert_allclose(found.change, sums[:, 1] - sums[:, 0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose([found.before, found.after], sums.sum(axis=0) / start, rtol=1e-3)
    assert found.predicted.tolist() == [6 + 22, 39 + 4, 1]


def test_texts_of_one_token_have_residuals_and_no_predictions(monkeypatch: pytest.MonkeyPatch):
    """Alone, and in a batch of their own beside longer texts, whose predictions stay as they are."""
    after, before = (as_opened(random_model("gpt2", seed=seed)) for seed in (1, 0))
    alone = differences(after, before, make_prompts([1, 1]), np.array([0, 1]), POSITIONS, silent)
    assert alone.predictions is None and alone.count.tolist() == [[1, 0, 0, 1]] * 2
    monkeypatch.setattr("backend.models.measurements.differences.TOKENS", {after.device.type: 6})
    mixed = differences(after, before, make_prompts([5, 1, 4]), np.array([0, 1, 2]), POSITIONS, silent).predictions
    assert mixed is not None and mixed.predicted.tolist() == [4, 0, 3]
    assert mixed.text.tolist() == [0] * 4 + [2] * 3 and np.isfinite(mixed.kl).all()


def test_a_checkpoint_beside_itself_differs_nowhere():
    one = as_opened(random_model("gpt2"))
    found = differences(one, one, make_prompts(LENGTHS), GROUPS, POSITIONS, silent)
    assert not found.total.any() and found.predictions is not None
    assert not found.predictions.kl.any() and not found.predictions.rise.any() and not found.predictions.change.any()


def test_models_of_other_sizes_are_refused():
    with pytest.raises(CheckpointError, match="differ in size; compare checkpoints of one base"):
        differences(
            as_opened(random_model("gpt2", layers=2)),
            as_opened(random_model("gpt2")),
            make_prompts([4]),
            GROUPS[:1],
            1,
            silent,
        )


def test_a_cancel_arrives_and_leaves_no_hook(models: LocalModels, pin: Pin, tmp_path: Path):
    def cancel(_fraction: float, sentence: str) -> None:
        if "comparing both" in sentence:
            raise Cancelled("no longer wanted")

    one = pin(save(random_model("gpt2"), tmp_path / "one"))
    with models.store.borrow(one) as loaded:
        before = hooks(loaded.model)
    with pytest.raises(Cancelled):
        models.differences(one, one, make_prompts([4]), GROUPS[:1], 2, cancel)
    models.differences(one, one, make_prompts([4]), GROUPS[:1], 2, silent)
    with models.store.borrow(one) as loaded:
        assert hooks(loaded.model) == before


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_promoted_tokens_agree_with_plain_transformers(name: str):
    model: Any = random_model(name)
    directions = np.random.default_rng(0).normal(size=(6, 32)).astype(np.float32)
    directions[2] *= 1e-6  # the length does not matter
    directions[4] = 0
    random = np.random.default_rng(1).normal(size=(9, 32)).astype(np.float32)
    found = promoted(directions, random, as_opened(model), 4, silent)
    norm = model.transformer.ln_f if name == "gpt2" else model.model.norm

    def raised(rows: np.ndarray) -> np.ndarray:
        unit = torch.from_numpy((rows / np.linalg.norm(rows, axis=1, keepdims=True) * np.sqrt(32)).astype(np.float32))
        with torch.no_grad():
            logits = (model.lm_head(norm(unit)) - model.lm_head(norm(torch.zeros(1, 32)))).double().numpy()
        return logits - logits.mean(axis=1, keepdims=True)

    keep = [0, 1, 2, 3, 5]
    spread = np.sqrt(np.square(raised(random)).mean(axis=0))
    scores = raised(directions[keep]) / spread
    np.testing.assert_allclose(found.score[keep], -np.sort(-scores, axis=1)[:, :4], rtol=1e-3, atol=1e-4)
    assert (found.token[keep] == np.argsort(-scores, axis=1)[:, :4]).all()
    assert np.isnan(found.score[4]).all()
    np.testing.assert_allclose(found.random, (raised(random) / spread).max(axis=1), rtol=1e-3)
