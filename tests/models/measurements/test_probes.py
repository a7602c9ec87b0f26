"""Probes on real models of every family against plain transformers, numpy and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from backend.analyses import accuracy, probes
from backend.caching.cache import Cache
from backend.caching.progress import silent
from backend.models.local import LocalModels
from backend.study.token_ids import Prompts
from tests.models.random_models import LABEL_TOKENS, LAYERS, Pin, make_prompts, random_model, real_lab, save
from tests.models.references import final_norm


def plain(folder: Path, prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
    """Residuals [reviews, layers, width] of plain transformers, one by one, and the label rows of the head."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    body: Any = model.base_model
    last: list[torch.Tensor] = []
    norm = body.ln_f if hasattr(body, "ln_f") else body.norm
    norm.register_forward_pre_hook(lambda _m, args: last.append(args[0][0, -1]))
    rows = []
    with torch.no_grad():
        for ids in prompts.token_ids:
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            rows.append(torch.stack([*(state[0, -1] for state in states[:-1]), last.pop()]).numpy())
    return np.stack(rows), model.get_output_embeddings().weight.detach().numpy()[list(LABEL_TOKENS)]


@pytest.fixture
def other(family: str, tmp_path: Path) -> Path:
    return save(random_model(family, seed=8), tmp_path / "other")


def test_all_readings_equal_plain_transformers_and_scikit_learn(
    models: LocalModels, pin: Pin, cache: Cache, folder: Path, other: Path
):
    prompts = make_prompts([int(n) for n in np.random.default_rng(2).integers(3, 30, 24)])
    query = probes.Query(pin(other, label="epoch 1"), pin(folder), prompts, draws=20, permutations=20)
    found = probes.recipe(query, real_lab(cache, models))
    residuals, own_rows = plain(other, prompts)
    _, base_rows = plain(folder, prompts)
    heads = {"base": base_rows, "own": own_rows}
    norms = {"none": lambda x: x, "base": lambda x: final_norm(folder, x), "own": lambda x: final_norm(other, x)}
    assert set(found.readings) == {*probes.READINGS, probes.AS_PUBLISHED}
    for head, norm in found.readings:
        place = found.place(head, norm)
        for layer in range(LAYERS + 1):
            used = norm if norm in norms else ("own" if layer == LAYERS else "none")
            logits = norms[used](residuals[:, layer].astype(np.float32)) @ heads[head].T
            logit_diff = logits[:, 1] - logits[:, 0]
            if np.ptp(residuals[:, layer], axis=0).max() < 1e-6:
                assert found.auc.value[place, layer] == 0.5
                continue
            scale = float(np.abs(logits).max())
            np.testing.assert_allclose(found.logit_diff[place, layer, :, 0], logit_diff, rtol=1e-3, atol=1e-5 * scale)
            assert found.auc.value[place, layer] == pytest.approx(roc_auc_score(prompts.labels, logit_diff), abs=1e-6)
            expected = balanced_accuracy_score(prompts.labels, logit_diff > 0)
            assert found.balanced_accuracy.value[place, layer] == pytest.approx(expected)
            gap = logit_diff[prompts.labels == 1].mean() - logit_diff[prompts.labels == 0].mean()
            assert found.gap.value[place, layer] == pytest.approx(gap, rel=1e-3, abs=1e-5 * scale)
            assert found.mean_logit_diff.value[place, layer, 0] == pytest.approx(
                logit_diff.mean(), rel=1e-3, abs=1e-5 * scale
            )


def test_own_head_and_norm_at_the_end_are_the_models_own_accuracy(
    models: LocalModels, pin: Pin, cache: Cache, folder: Path, other: Path
):
    prompts, lab = make_prompts([5, 9, 17, 30, 12, 8, 40, 21]), real_lab(cache, models)
    for checkpoint in (pin(folder), pin(other, label="epoch 1")):
        found = probes.recipe(probes.Query(checkpoint, pin(folder), prompts, draws=50, permutations=20), lab)
        own = accuracy.recipe(accuracy.Query(checkpoint, prompts, draws=50), lab)
        place = found.place("own", "own")
        np.testing.assert_allclose(found.logit_diff[place, -1], own.logit_diff, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found.prediction[place, -1], own.prediction)
        for name in ("balanced_accuracy", "auc", "gap"):
            ours, theirs = getattr(found, name)[place, -1].ends, getattr(own, name).ends
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4), name
        np.testing.assert_array_equal(found.recall.value[place, -1], own.recall.value)


def test_a_cancel_arrives(models: LocalModels, pin: Pin, cache: Cache, gpt2: Path):
    heard: list[str] = []
    query = probes.Query(pin(gpt2), pin(gpt2), make_prompts([5, 9, 7, 4]), draws=20, permutations=20)
    probes.recipe(query, real_lab(cache, models, lambda _fraction, sentence: heard.append(sentence)))
    assert any("Resampling" in one for one in heard)
    assert silent(0.0, "") is None
