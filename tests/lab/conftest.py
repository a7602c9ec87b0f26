"""A lab with real models and a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.training.local_autoencoders import LocalAutoencoders


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    models = LocalModels(Cache(tmp_path / "cache"))
    return Lab(Cache(tmp_path / "cache"), models, LocalAutoencoders(models))
