"""Tiny random checkpoints on disk, one per architecture, and what is asked of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.caching.cache import Cache
from backend.models.local import LocalModels
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from tests.models.random_models import ARCHITECTURES, POSITIONS, Pin, make_prompts, random_model, ref, save


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models gain nothing from threads, and on a busy machine threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(params=ARCHITECTURES, scope="session")
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family on disk."""
    return save(random_model(family), tmp_path_factory.mktemp(family))


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A GPT-2 on disk that a test may damage."""
    return save(random_model("gpt2"), tmp_path / "gpt2")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def models(cache: Cache) -> LocalModels:
    return LocalModels(cache)


@pytest.fixture
def pin(models: LocalModels) -> Pin:
    """A folder pinned as a checkpoint, on a base if it is an adapter."""

    def pinned(folder: Path, base: Path | None = None, dtype: str = "float32", label: str = "base") -> PinnedCheckpoint:
        one, below = ref(folder, label), ref(base or folder)
        return PinnedCheckpoint(models.fingerprint(one, below), dtype, one, below, models.facts(one, below))

    return pinned


@pytest.fixture
def prompts() -> Prompts:
    """Thirty-three prompts of one to sixty-four tokens, in no order."""
    return make_prompts([int(n) for n in np.random.default_rng(1).integers(2, POSITIONS, 31)] + [1, POSITIONS])
