"""Swapped and crossed parts of BERT, RoBERTa and DistilBERT against parameters copied by name, one prompt at a time."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from backend.caching.progress import silent
from backend.errors import CheckpointError
from backend.lab.outputs import Swap
from backend.models.local import LocalModels
from backend.models.measurements.swaps import Limits, run_swaps
from tests.models.random_encoders import HEADS, NAMES, encoder, some_prompts
from tests.models.random_models import LAYERS, WIDTH, Pin, as_opened, save
from tests.models.references import exchanged

SPANS = [(first, last) for first in range(LAYERS) for last in range(first, LAYERS)]
PLAN = (*(Swap(part, *span) for part in ("block", "attn", "mlp") for span in SPANS), Swap("embed"))
PROMPTS = some_prompts()


@torch.inference_mode()
def answers(model: PreTrainedModel) -> np.ndarray:
    return np.array([model(torch.tensor([ids])).logits[0].numpy() for ids in PROMPTS.token_ids])


@pytest.mark.parametrize("headless", HEADS[1:])
@pytest.mark.parametrize("name", NAMES)
def test_every_swap_is_the_encoder_with_its_parts_exchanged(name: str, headless: str):
    host = encoder(name, seed=1)
    for donor in (encoder(name, seed=2), encoder(name, headless, seed=3)):
        found = run_swaps(as_opened(host), as_opened(donor), PLAN, PROMPTS, silent)
        for one, logits in zip(PLAN, found, strict=True):
            expected = answers(exchanged(host, donor, one))
            np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4, err_msg=str(one))
        assert min(np.abs(a - b).max() for a, b in itertools.combinations(found, 2)) > 0.01
        assert found.std() > 0.3


def test_company_and_memory_change_no_number():
    host, donor = (as_opened(encoder("Roberta", seed=seed)) for seed in (1, 2))
    alone = run_swaps(host, donor, PLAN, PROMPTS, silent, limits=Limits(rows=1, tokens=40))
    for options in ({"rows": 32, "tokens": 1 << 20}, {"tokens": 300}, {"held_bytes": 1}, {"held_bytes": 40_000}):
        together = run_swaps(host, donor, PLAN, PROMPTS, silent, limits=Limits(**options))
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_together_is_an_error(models: LocalModels, pin: Pin, tmp_path: Path):
    host, headless, other = (
        pin(save(encoder(name, head), tmp_path / f"{name}{head}"))
        for name, head in (("Bert", HEADS[0]), ("Bert", HEADS[2]), ("Roberta", HEADS[0]))
    )
    plan = (Swap("block", 0, 0),)
    with pytest.raises(CheckpointError, match="has no head, so no swap can be read"):
        models.swaps(headless, host, plan, PROMPTS, silent)
    with pytest.raises(CheckpointError, match="differ in kind or size"):
        models.swaps(host, other, plan, PROMPTS, silent)


@torch.inference_mode()
def written(host: PreTrainedModel, donor: PreTrainedModel, block: int, ids: tuple[int, ...]) -> np.ndarray:
    """What leaves the donor's block at [CLS] when it stands in the host, less what enters it."""
    mixed = exchanged(host, donor, Swap("block", block, block))
    states = mixed.base_model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return (states[block + 1] - states[block])[0, 0].numpy()


@pytest.mark.parametrize("name", NAMES)
def test_every_block_on_every_stream_equals_exchanged_blocks(name: str, models: LocalModels, pin: Pin, tmp_path: Path):
    pair = (encoder(name, "Model", seed=1), encoder(name, seed=2))
    places = [pin(save(model, tmp_path / str(i)), label=f"epoch {i}") for i, model in enumerate(pair)]
    found = models.crossed_updates(places[1], places[0], PROMPTS, silent)
    assert found.shape == (len(PROMPTS.token_ids), LAYERS, 2, 2, WIDTH)
    for review, ids in enumerate(PROMPTS.token_ids):
        for block, i, j in itertools.product(range(LAYERS), range(2), range(2)):
            expected = written(pair[j], pair[i], block, ids)
            np.testing.assert_allclose(found[review, block, i, j], expected, rtol=1e-3, atol=1e-3)
