"""Losses and KL under interventions, against plain transformers with hooks by hand and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.caching.progress import silent
from backend.errors import Cancelled, UndefinedError
from backend.models.local import LocalModels
from backend.models.measurements.side_effects import side_effects
from tests.models.hooked import PLAN, hooked
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import Pin, as_opened, make_prompts, random_model
from tests.models.references import hooks

TEXTS = make_prompts([7, 1, 30, 12, 3])
CHOSEN = (PLAN[7], PLAN[10], PLAN[11], PLAN[12])


def logprobs(model, ids: tuple[int, ...]) -> np.ndarray:
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def test_losses_and_kl_are_those_of_hooked_models(family: str):
    model = random_model(family, seed=2)
    found = side_effects(as_opened(model), CHOSEN, TEXTS, silent)
    np.testing.assert_array_equal(found.predicted, [6, 0, 29, 11, 2])
    for text, ids in enumerate(TEXTS.token_ids):
        plain, following = logprobs(model, ids)[:-1], list(ids[1:])
        places = range(len(following))
        np.testing.assert_allclose(found.plain_loss[text], -plain[places, following].sum(), rtol=1e-4, atol=1e-4)
        for one, loss, kl in zip(CHOSEN, found.loss[:, text], found.kl[:, text], strict=True):
            other = logprobs(hooked(model, one), ids)[:-1]
            np.testing.assert_allclose(loss, -other[places, following].sum(), rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(kl, (np.exp(plain) * (plain - other)).sum(), rtol=1e-3, atol=1e-3)
    assert (found.kl[:, 2] > 0.1).all()


def test_an_encoder_predicts_nothing():
    with pytest.raises(UndefinedError, match="predicts no tokens"):
        side_effects(as_opened(encoder("Bert")), PLAN[:1], some_prompts(), silent)


def test_the_port_tells_every_run_and_a_cancel_leaves_no_hook(models: LocalModels, pin: Pin, gpt2):
    one, heard = pin(gpt2), []
    found = models.side_effects(one, CHOSEN, TEXTS, lambda *told: heard.append(told))
    assert not found.loss.flags.writeable and found.loss.shape == (4, 5)
    fractions = [fraction for fraction, sentence in heard if "predicting" in sentence]
    assert fractions == sorted(fractions) and len(fractions) >= 1 + len(CHOSEN)
    with models.store.borrow(one) as loaded:
        before = hooks(loaded.model)
    told = 0

    def cancel(_fraction: float, sentence: str) -> None:
        nonlocal told
        told += "predicting" in sentence
        if told == 4:
            raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        models.side_effects(one, CHOSEN, TEXTS, cancel)
    with models.store.borrow(one) as loaded:
        assert hooks(loaded.model) == before
