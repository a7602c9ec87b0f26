"""Ordered labels: planted and absent orders, rows, refusals, and real models against a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForCausalLM

from backend.analyses import accuracy, direction, ordered
from backend.caching.cache import Cache
from backend.errors import UndefinedError
from backend.lab.lab import Lab
from backend.lab.pinning import pin
from backend.models.local import LocalModels
from backend.stats import ranks
from backend.study.config import load_study
from backend.study.kinds import ORDERED
from backend.study.token_ids import Prompts
from backend.training.local_autoencoders import LocalAutoencoders
from tests.fake_readouts import fake_residuals
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.tiny import rewrite, tiny_study

WORDS = 'label_words = ["negative", "positive"]\nseparator = " "\n'


def planted(values: tuple[float, ...], first: int):
    """Residuals in which layers from `first` on hold the value, in checkpoints after the base."""

    def residuals(epoch: int, prompts: Prompts, layers: int, width: int) -> np.ndarray:
        x = fake_residuals(0, prompts, layers, width)
        x = np.random.default_rng(epoch + 7).normal(size=x.shape).astype(np.float32)
        if epoch:
            x[:, first:, 0] += 3 * np.array(values, np.float32)[:, None]
        return x

    return residuals


def test_a_planted_order_is_found_from_its_layer_on_and_not_in_the_base(tmp_path: Path) -> None:
    plain = fake_study(kind="ordered", reviews=100)
    models = FakeModels(layers=5, width=8, residuals=planted(plain.sample.values, 3))
    study = fake_study(kind="ordered", reviews=100, models=models)
    lab = fake_lab(tmp_path, models)
    base, *tuned = (ordered.recipe(query, lab) for query in ordered.queries(study))
    assert base.leaves_chance is None
    for result in tuned:
        assert result.leaves_chance == 3
        assert (result.correlation.value[3:] > 0.9).all()
        assert (result.correlation.low <= result.correlation.value).all()
        assert result.norm[4] > 3 * base.norm[4]
    np.testing.assert_allclose(base.cosine_to_reference, 1)
    assert np.abs(tuned[0].cosine_to_reference).max() < 0.99


def test_rows_have_one_layer_each_and_every_query_reads_once(tmp_path: Path) -> None:
    models = FakeModels(layers=3, width=8)
    study = fake_study(kind="ordered", models=models, epochs=2)
    lab = fake_lab(tmp_path, models)
    rows = [row for query in ordered.queries(study, "epoch 1") for row in ordered.recipe(query, lab).rows(query)]
    assert [(row["checkpoint"], row["layer"]) for row in rows] == [
        (label, layer) for label in ("base", "epoch 1", "epoch 2") for layer in range(4)
    ]
    assert list(rows[0]) == [
        *("checkpoint", "layer", "correlation", "correlation_low", "correlation_high", "correlation_chance"),
        *("norm", "relative", "cosine_to_reference"),
    ]
    assert len(models.ran) == 3


@pytest.mark.parametrize("kind", ["answers", "contrast", "texts"])
def test_without_an_order_there_is_nothing_to_ask(kind) -> None:
    assert ordered.queries(fake_study(kind=kind)) == []


def test_what_needs_classes_or_answers_names_the_key() -> None:
    study = fake_study(kind="ordered")
    assert study.lacks("classes") == ORDERED
    assert "remove dataset.ordered and add prompt.label_words" in str(study.lacks("answers"))
    assert "set dataset.ordered = true" in str(fake_study().lacks("order"))
    assert direction.queries(study) == accuracy.queries(study) == []


def stars(folder: Path, family: str) -> Path:
    """A study whose label is a number of stars."""
    tiny_study(folder, (1,), family)
    table = pd.read_csv(folder / "reviews.csv")
    rows = np.random.default_rng(0).integers(1, 6, len(table))
    table.assign(stars=[f"{value}" if i % 9 else "" for i, value in enumerate(rows)]).to_csv(
        folder / "reviews.csv", index=False
    )
    rewrite(folder, WORDS, "")
    rewrite(folder, "sample = 20", 'sample = 40\nlabel = "stars"\nordered = true')
    return folder


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_real_models_agree_with_plain_transformers_and_scikit_learn(tmp_path: Path, family: str) -> None:
    models = LocalModels(Cache(tmp_path / "cache"))
    lab = Lab(Cache(tmp_path / "cache"), models, LocalAutoencoders(models))
    study = pin(load_study(stars(tmp_path / "study", family)), lab)
    table = pd.read_csv(tmp_path / "study" / "reviews.csv")
    expected_values = table.stars[study.sample.index].to_numpy()
    np.testing.assert_array_equal(study.sample.values, expected_values)
    query = ordered.queries(study)[1]
    result = ordered.recipe(query, lab)
    model: Any = AutoModelForCausalLM.from_pretrained(str(query.checkpoint.ref.path), dtype=torch.float32)
    last: list[torch.Tensor] = []
    body = model.base_model
    norm = body.ln_f if hasattr(body, "ln_f") else body.norm
    norm.register_forward_pre_hook(lambda _, args: last.append(args[0]))
    rows = []
    for ids in study.prompts.token_ids:
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        rows.append([state[0, -1].numpy() for state in (*states[:-1], last[-1])])
    residuals = np.array(rows, dtype=np.float64)
    fold_of = ranks.random_folds(40, study.prompts.groups, 5, 0)
    for layer in range(residuals.shape[1]):
        x = residuals[:, layer]
        if np.ptp(x, axis=0).max() < 1e-6:
            assert np.isnan(result.correlation.value[layer])
            continue
        predicted = np.empty(40)
        for fold in range(5):
            test = fold_of == fold
            fitted = make_pipeline(StandardScaler(), Ridge(alpha=x.shape[1])).fit(x[~test], expected_values[~test])
            predicted[test] = fitted.predict(x[test]) - expected_values[~test].mean()
        rho = spearmanr(predicted, expected_values)[0]
        assert result.correlation.value[layer] == pytest.approx(rho, abs=2e-3)
        z = (expected_values - expected_values.mean()) / expected_values.std()
        norm_of = np.linalg.norm((z[:, None] * x).mean(axis=0))
        assert result.norm[layer] == pytest.approx(norm_of, rel=1e-3)


def test_values_of_another_sample_are_refused(tmp_path: Path) -> None:
    study = fake_study(kind="ordered")
    query = ordered.Query(study.base, study.base, study.prompts, (1.0, 2.0))
    with pytest.raises(UndefinedError, match=r"set dataset.ordered = true"):
        ordered.recipe(query, fake_lab(tmp_path))
