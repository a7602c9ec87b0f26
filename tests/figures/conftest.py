"""Results of the fake study for the figures: two classes, and three."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from backend.lab.lab import Lab
from backend.study.pinned import PinnedStudy
from tests.fakes import fake_lab, fake_study


@dataclass(frozen=True)
class Shown:
    """A study whose results a figure draws."""

    study: PinnedStudy
    lab: Lab

    @property
    def names(self) -> list[str]:
        return [one.label for one in self.study.checkpoints]

    @property
    def words(self) -> tuple[str, ...]:
        return self.study.study.prompt.label_words


@pytest.fixture(scope="session", params=[2, 3], ids=["two classes", "three classes"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The fake study with two and with three classes."""
    return Shown(fake_study(epochs=2, classes=request.param, reviews=60), fake_lab(tmp_path_factory.mktemp("figures")))
