"""Features of real, tiny models: rates, promoted tokens and typed texts against plain transformers and numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedModel

from backend.analyses import features
from backend.caching.cache import Cache
from backend.derived.feature_activations import find, promoted
from backend.derived.feature_contexts import TextQuery, in_text
from backend.lab.outputs import Autoencoder
from backend.models.local import LocalModels
from backend.stats import metrics
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import LAYERS, Pin, make_prompts, random_model, real_lab, save
from tests.models.references import plain_residuals

LAYER, FEATURES, K = 2, 64, 6


def two(name: str, folder: Path, pin: Pin) -> tuple[list[PreTrainedModel], features.Query]:
    """Two random models of a family, and a query for both."""
    if name == "Bert":
        models, prompts = [encoder(name), encoder(name)], some_prompts()
    else:
        models, prompts = [random_model(name, seed) for seed in (3, 4)], make_prompts([25, 17, 11, 40, 9, 23])
    pinned = [pin(save(one, folder / str(i)), folder / "0", label=f"model {i}") for i, one in enumerate(models)]
    query = features.Query(
        pinned[1], pinned[0], prompts, LAYER, FEATURES, K, tokens=4000, batch=64, learning_rate=1e-2, seed=1
    )
    return models, query


def dense(autoencoder: Autoencoder, x: np.ndarray) -> np.ndarray:
    """What fires [tokens, features], by the words of `Autoencoder` alone."""
    before = (x.astype(np.float64) - autoencoder.decoder_bias) @ autoencoder.encoder + autoencoder.encoder_bias
    rank = (-before).argsort(axis=1).argsort(axis=1)
    return np.where((rank < autoencoder.k) & (before > 0), before, 0.0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "Bert"])
def test_rates_and_aucs_are_those_of_plain_residuals(
    name: str, tmp_path: Path, models: LocalModels, cache: Cache, pin: Pin
):
    plain, query = two(name, tmp_path, pin)
    lab = real_lab(cache, models)
    result = features.recipe(query, lab)
    autoencoder = find(query.source, lab)
    prompts, kept = query.prompts, None
    fires, norms = [], []
    for model in plain:
        residuals = plain_residuals(model, prompts, LAYER)
        fires.append([dense(autoencoder, x) for x in residuals])
        norms.append([np.linalg.norm(x, axis=1) for x in residuals])
    kept = [np.arange(len(x)) > 0 for x in norms[0]]
    for of_model in norms:
        median = np.median(np.concatenate([x[1:] for x in of_model]))
        assert max(x.max() for x in of_model) < 10 * median  # none of these is massive, so position 0 alone is left out
    for m, of_model in enumerate(fires):
        counted = np.concatenate([one[k] for one, k in zip(of_model, kept, strict=True)])
        # a value may lie just at the k-th place, and float32 decides otherwise: one token in a hundred at most
        np.testing.assert_allclose(result.rate[m], (counted > 0).mean(axis=0), atol=0.01)
        np.testing.assert_allclose(result.mean[m], counted.mean(axis=0), rtol=1e-2, atol=1e-3)
        largest = np.array([one[k].max(axis=0, initial=0.0) for one, k in zip(of_model, kept, strict=True)])
        for feature in np.flatnonzero(largest.max(axis=0) > 0.1)[:8]:
            auc = metrics.auc(largest[:, feature, None], prompts.labels)
            assert result.auc[m, 0, feature] == pytest.approx(auc, abs=0.06)
    assert np.isnan(result.losses).all() == (name == "Bert")
    assert (len(result.words) == 0) == (name == "Bert")


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_promoted_tokens_are_those_of_the_final_norm_and_the_unembedding(
    name: str, tmp_path: Path, models: LocalModels, cache: Cache, pin: Pin
):
    model: Any = random_model(name, seed=3)
    checkpoint = pin(save(model, tmp_path / name))
    rows = np.random.default_rng(0).normal(size=(9, model.config.hidden_size))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    norm = model.transformer.ln_f if name == "gpt2" else model.model.norm
    weight, unembedding = (one.detach().numpy().astype(np.float64) for one in (norm.weight, model.lm_head.weight))
    through = (rows - rows.mean(axis=1, keepdims=True) if name == "gpt2" else rows) * weight
    logits = through @ unembedding.T
    assert logits.std() > 0.2, "the logits must spread, or any order passes"
    wanted = np.argsort(-logits, axis=1)[:, :6]
    assert np.array_equal(promoted(rows, checkpoint, 6, real_lab(cache, models)), wanted)


@pytest.mark.parametrize("name", ["gpt2", "llama", "Bert"])
def test_a_typed_text_is_read_at_every_layer(name: str, tmp_path: Path, models: LocalModels, cache: Cache, pin: Pin):
    plain, query = two(name, tmp_path, pin)
    lab = real_lab(cache, models)
    autoencoder = find(query.source, lab)
    few = {key: getattr(query.prompts, key)[-1:] for key in ("token_ids", "labels", "truncated")}
    text = replace(query.prompts, digest="one", **few)
    wanted = np.stack(
        [dense(autoencoder, plain_residuals(plain[1], text, layer)[0]) for layer in range(LAYERS + 1)], axis=1
    )
    feature = int(np.argmax(wanted[1:, LAYER].sum(axis=0)))
    found = in_text(TextQuery(query.checkpoint, query.source, text, feature), lab).activation
    np.testing.assert_allclose(found[1:], wanted[1:, :, feature], rtol=1e-3, atol=1e-3)
