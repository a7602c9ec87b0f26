"""Similarity of real models, tiny and random: plain transformers, numpy and scipy give the same numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.spatial
import torch
import transformers
from transformers import PreTrainedModel

from backend.analyses import cka_grid, similarity, unembedding
from backend.caching.cache import Cache
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from tests.fake_autoencoders import FakeAutoencoders
from tests.fake_texts import fake_tokenizer
from tests.models.random_encoders import NAMES, encoder, some_prompts
from tests.models.random_models import LAYERS, Pin, make_prompts, random_model, save
from tests.models.references import one_at_a_time


def between(base: PreTrainedModel, other: PreTrainedModel, share: float) -> PreTrainedModel:
    """The base with a share of the other's weights: a fine-tuned model that still resembles it."""
    theirs = dict(other.named_parameters())
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            parameter.lerp_(theirs[name], share)
    return base


def plain_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased CKA by U-centred matrices (Szekely and Rizzo 2014), another way to the same number."""

    def centred(x: np.ndarray) -> np.ndarray:
        k, n = x.astype(np.float64) @ x.T.astype(np.float64), len(x)
        np.fill_diagonal(k, 0)
        rows = k.sum(axis=0) / (n - 2)
        k = k - rows - rows[:, None] + k.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(k, 0)
        return k

    a, b = centred(x), centred(y)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def holds(found: similarity.Result, own: np.ndarray, base: np.ndarray, layers: range) -> None:
    """Every measure of these layers is that of plain residuals [reviews, layers, width]."""
    for layer in layers:
        x, y = own[:, layer], base[:, layer]
        if np.ptp(y, axis=0).max() < 1e-5:
            assert np.isnan([found.cka.value[layer], found.procrustes.value[layer], found.cosine.value[layer]]).all()
            continue
        assert found.cka.value[layer] == pytest.approx(plain_cka(x, y), rel=1e-3)
        assert found.procrustes.value[layer] == pytest.approx(scipy.spatial.procrustes(y, x)[2], rel=1e-3)
        cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        assert found.cosine.value[layer] == pytest.approx(cosines.mean(), rel=1e-3)


def lab(cache: Cache, models: LocalModels) -> Lab:
    return Lab(cache, models, FakeAutoencoders())


def measure(
    models: LocalModels, cache: Cache, pair: tuple[PinnedCheckpoint, PinnedCheckpoint], prompts: Prompts
) -> similarity.Result:
    return similarity.recipe(similarity.Query(*pair, prompts, draws=20, permutations=5), lab(cache, models))


@pytest.fixture
def other(family: str, tmp_path: Path) -> Path:
    model = between(random_model(family), random_model(family, seed=8), 0.15)
    return save(model, tmp_path / "other")


def test_causal_models(models: LocalModels, cache: Cache, pin: Pin, folder: Path, other: Path, prompts: Prompts):
    pair = pin(other, label="epoch 1"), pin(folder)
    found = measure(models, cache, pair, prompts)
    own, base = one_at_a_time(other, prompts)[0], one_at_a_time(folder, prompts)[0]
    holds(found, own, base, range(LAYERS))
    assert 0.05 < np.nanmin(found.cka.value) < 0.98, "else anything would pass"
    grid = cka_grid.recipe(cka_grid.Query(*pair, prompts), lab(cache, models))
    assert grid.cka.value[1, 2] == pytest.approx(plain_cka(own[:, 1], base[:, 2]), rel=1e-3, abs=1e-4)
    np.testing.assert_allclose(np.diagonal(grid.cka.value), found.cka.value)


@pytest.mark.parametrize("name", NAMES)
def test_encoders_whose_layer_0_holds_no_text(name: str, models: LocalModels, cache: Cache, pin: Pin, tmp_path: Path):
    base = encoder(name)
    folder = save(base, tmp_path / "base")
    own = between(encoder(name), encoder(name, seed=8), 0.1)
    other = save(own, tmp_path / "other")
    prompts, states = some_prompts(), []
    prompts = replace(prompts, token_ids=tuple((3, *ids[1:]) for ids in prompts.token_ids))  # 3 stands for [CLS]
    for model in (own, transformers.AutoModelForSequenceClassification.from_pretrained(folder)):
        with torch.no_grad():
            outputs = [
                model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
                for ids in prompts.token_ids
            ]
        states.append(np.array([[one[0, 0].numpy() for one in hidden] for hidden in outputs]))
    pair = pin(other, label="epoch 1"), pin(folder)
    found = measure(models, cache, pair, prompts)
    holds(found, states[0], states[1], range(LAYERS + 1))
    assert np.isnan(found.cka.value[0]) and np.isfinite(found.cka.value[1:]).all()
    with pytest.raises(UndefinedError, match="predicts no tokens"):
        unembedding.recipe(unembedding.Query(*pair), lab(cache, models))


def test_the_unembedding_on_shared_rows(models: LocalModels, cache: Cache, pin: Pin, family: str, tmp_path: Path):
    size = fake_tokenizer().get_vocab_size()
    base, own = random_model(family), random_model(family, seed=3, vocabulary=size + 5)
    pair = pin(save(own, tmp_path / "own"), label="epoch 1"), pin(save(base, tmp_path / "base"))
    found = unembedding.recipe(unembedding.Query(*pair), lab(cache, models))
    x, y = (one.lm_head.weight.detach().numpy()[:size] for one in (own, base))
    assert found.rows_shared == size
    assert found.tied == (family == "gpt2")
    assert found.procrustes == pytest.approx(scipy.spatial.procrustes(y, x)[2], rel=1e-3)
    cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert found.cosine == pytest.approx(cosines.mean(), rel=1e-3, abs=1e-6)


def test_few_reviews_are_one_sentence(models: LocalModels, cache: Cache, pin: Pin, gpt2: Path):
    with pytest.raises(UndefinedError, match="Similarity needs 5 texts, and the sample has 4"):
        measure(models, cache, (pin(gpt2), pin(gpt2)), make_prompts([3, 4, 5, 6]))
