"""A small study for analyses that run models of their own: two epochs, with two classes and with three."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.lab.lab import Lab
from backend.study.pinned import PinnedStudy
from tests.fakes import FakeModels, fake_lab, fake_study

LAYERS = 4


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(layers=LAYERS, width=12)


@pytest.fixture
def lab(tmp_path: Path, models: FakeModels) -> Lab:
    return fake_lab(tmp_path, models)


@pytest.fixture(params=[2, 3], ids=["two classes", "three classes"])
def study(request: pytest.FixtureRequest, models: FakeModels) -> PinnedStudy:
    return fake_study(epochs=2, classes=request.param, models=models)
