"""The dashboard on the fake study, without a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from backend import wiring
from backend.caching.jobs import Jobs
from backend.errors import StudyError
from backend.lab.lab import Lab
from backend.study.config import Study
from backend.study.kinds import Kind
from pages.frame import painted
from tests.fake_texts import fake_sample
from tests.fakes import FakeModels, fake_definition, fake_lab

ROOT = Path(__file__).parents[2]
Opens = Callable[..., AppTest]


class World:
    """What the dashboard finds: studies, a lab, jobs. Tests change it as they like."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = FakeModels(layers=4, width=12)
        self.lab: Lab = fake_lab(folder, self.models)
        self.jobs = Jobs()
        self.studies: dict[str, Study | StudyError] = {}
        self.add("film")

    def add(self, name: str, classes: int = 2, kind: Kind = "answers", epochs: int = 3) -> None:
        """A fake study with its data on disk."""
        folder = self.folder / name
        folder.mkdir()
        sample = fake_sample(40, classes)
        rows = [f'"{text}",{label}' for text, label in zip(sample.text, sample.label, strict=True)]
        (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]))
        self.studies[name] = fake_definition(folder, epochs, classes, 36, kind)

    def make_encoder(self, name: str = "film", headless: tuple[str, ...] = ()) -> None:
        """Every model an encoder from now on, those with a `headless` label without a classification head."""
        study, facts = self.studies[name], self.models.facts
        assert isinstance(study, Study)
        self.studies[name] = study.model_copy(update={"family": "encoder"})
        self.models.facts = lambda ref, base: replace(
            facts(ref, base), kind="encoder", has_head=ref.label not in headless
        )


@pytest.fixture(scope="session", autouse=True)
def _one_look_for_components() -> Iterator[None]:
    """Every AppTest starts Streamlit, which reads the metadata of all installed packages, at a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Fakes behind the wiring."""
    made = World(tmp_path)
    monkeypatch.setenv("LAYERSHIFT_PATHS", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(wiring, "open_lab", lambda: made.lab)
    monkeypatch.setattr(wiring, "jobs", lambda: made.jobs)
    monkeypatch.setattr(wiring, "studies", lambda: made.studies)
    return made


@pytest.fixture
def opens(world: World) -> Opens:
    """Open a page of the dashboard at an address and wait until its pictures are there."""

    def open_page(page: str = "overview", /, **address: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        for key, value in address.items():
            test.query_params[key] = value
        test.session_state[painted.STATE] = True
        test.switch_page(f"pages/{page}.py")
        return settle(test.run())

    return open_page


def settle(test: AppTest, seconds: float = 120) -> AppTest:
    """Run the page again until no work is under way, and expect no exception on it."""
    end = time.monotonic() + seconds
    if painted.STATE not in test.session_state or not test.session_state[painted.STATE]:
        # as the browser does when it has painted the first picture
        test.session_state[painted.STATE] = True
        test.run()
    while any(button.label == "Cancel" for button in test.button):
        while wiring.jobs().active():
            assert time.monotonic() < end, "the work does not end"
            time.sleep(0.02)
        test.run()
    assert [one.value for one in test.exception] == []
    return test


def charts(test: AppTest) -> dict[str, str]:
    """The plots on the page, by key, as JSON, without what they hold of other epochs."""
    return {key: json.dumps(spec, ensure_ascii=False, separators=(",", ":")) for key, spec in specs(test).items()}


def filmed(test: AppTest) -> dict[str, list[str]]:
    """The epochs that a plot holds besides its own, by the plot's key."""
    held = {_key(one.proto.id): json.loads(one.proto.spec) for one in test.get("plotly_chart")}
    epochs = {key: spec["layout"].get("meta", {}).get("epochs", {}) for key, spec in held.items()}
    return {
        key: [label for label in one["filmed"] if label != one["chosen"]]
        for key, one in epochs.items()
        if "frames" in one
    }


def specs(test: AppTest) -> dict[str, Any]:
    """The plots on the page, by key, without what they hold of other epochs."""
    found = {_key(one.proto.id): json.loads(one.proto.spec) for one in test.get("plotly_chart")}
    for spec in found.values():
        spec["layout"].get("meta", {}).get("epochs", {}).pop("frames", None)
        spec["layout"].get("meta", {}).get("epochs", {}).pop("filmed", None)
    return found


def components(test: AppTest) -> dict[str, dict[str, Any]]:
    """The data of the components on the page, by key."""
    found = [one.proto for one in test.get("bidi_component")]
    return {_key(one.id): json.loads(one.json) for one in found if one.json}


def _key(identity: str) -> str:
    """The key at the end of an element's id, `$$ID-digest-key`."""
    return identity.split("-", 2)[2]
