"""Blocks on the residuals of both checkpoints against plain transformers whose blocks were exchanged by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.caching.progress import silent
from backend.errors import Cancelled, CheckpointError
from backend.models.local import LocalModels
from backend.study.token_ids import Prompts
from tests.models.random_models import LAYERS, WIDTH, Pin, make_prompts, random_model, save
from tests.models.references import hooks, plain_model


def blocks_of(model: Any) -> Any:
    return model.base_model.h if hasattr(model.base_model, "h") else model.base_model.layers


def written(host: Path, donor: Path, block: int, ids: tuple[int, ...]) -> np.ndarray:
    """What the donor's block writes at the last token when it stands in the host."""
    model, exchanged = plain_model(host), blocks_of(plain_model(donor))[block]
    own = blocks_of(model)[block]
    kept: list[Any] = []
    hook = exchanged.register_forward_hook(
        lambda _m, args, kwargs, out: kept.append(
            (out[0] if isinstance(out, tuple) else out) - (args[0] if args else kwargs["hidden_states"])
        ),
        with_kwargs=True,
    )
    try:
        blocks_of(model)[block] = exchanged
        with torch.no_grad():
            model(torch.tensor([ids]), use_cache=False)
    finally:
        hook.remove()
        blocks_of(model)[block] = own
    return kept[0][0, -1].numpy()


@pytest.fixture
def other(family: str, tmp_path: Path) -> Path:
    return save(random_model(family, seed=8), tmp_path / "other")


def test_every_block_on_every_stream_equals_exchanged_blocks(models: LocalModels, pin: Pin, folder: Path, other: Path):
    prompts = make_prompts([7, 40], seed=2)
    found = models.crossed_updates(pin(other, label="epoch 1"), pin(folder), prompts, silent)
    assert found.shape == (2, LAYERS, 2, 2, WIDTH)
    places = (folder, other)
    for review, ids in enumerate(prompts.token_ids):
        for block in range(LAYERS):
            for i, donor in enumerate(places):
                for j, host in enumerate(places):
                    expected = written(host, donor, block, ids)
                    np.testing.assert_allclose(found[review, block, i, j], expected, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_against_itself_changes_nothing(models: LocalModels, pin: Pin, folder: Path, prompts: Prompts):
    one = pin(folder)
    found = models.crossed_updates(one, one, prompts, silent)
    np.testing.assert_allclose(found[:, :, 1, 1], found[:, :, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found[:, :, 0, 1], found[:, :, 0, 0], atol=1e-4)
    residuals = models.readout(one, prompts, silent).residuals
    np.testing.assert_allclose(found[:, :, 0, 0], np.diff(residuals, axis=1), rtol=1e-3, atol=1e-3)


def test_models_of_another_layout_are_an_error(models: LocalModels, pin: Pin, tmp_path: Path):
    one, deeper = (save(random_model("gpt2", layers=n), tmp_path / str(n)) for n in (2, 3))
    with pytest.raises(CheckpointError, match="differ in layout; compare checkpoints of one architecture"):
        models.crossed_updates(pin(deeper), pin(one), make_prompts([4]), silent)


@pytest.mark.parametrize("blocks", range(5))
def test_a_cancel_arrives_before_any_block_and_leaves_no_hook(models: LocalModels, pin: Pin, gpt2: Path, blocks: int):
    calls = 0

    def cancel(_fraction: float, sentence: str) -> None:
        nonlocal calls
        calls += "crossing" in sentence
        if calls > blocks:
            raise Cancelled("no longer wanted")

    one = pin(gpt2)
    with models.store.borrow(one) as loaded:
        before = hooks(loaded.model)
    with pytest.raises(Cancelled):
        models.crossed_updates(one, one, make_prompts([4]), cancel)
    with models.store.borrow(one) as loaded:
        assert hooks(loaded.model) == before
