"""Data sets of a hub that runs on this machine: read, then read without a network; each mistake is one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from backend.errors import DatasetError
from backend.study.config import load_study
from backend.study.tables.arrow_datasets import read_hub
from tests.fake_texts import fake_sample
from tests.hub_server import hub_of
from tests.tiny import rewrite, tiny_study

ROOT = Path(__file__).parents[2]
CONFIGURED = """---
configs:
- config_name: one
  data_files: [{split: test, path: one/test.csv}]
- config_name: other
  data_files: [{split: test, path: other/test.csv}]
---
"""


@dataclass
class Hub:
    """A study on disk whose data may lie on the hub at `address`; `fetched` are the files that were downloaded."""

    folder: Path
    address: str
    fetched: list[str]
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.text = (self.folder / "study.toml").read_text()

    def run(self, keys: str, *command: str, offline: bool = False) -> tuple[int, str, str]:
        """Exit code, output and last line of errors of a command, with these keys of the data."""
        (self.folder / "study.toml").write_text(self.text.replace('path = "reviews.csv"\n', f"{keys}\n", 1))
        here = os.environ | {"HF_ENDPOINT": self.address, "HF_HOME": str(self.folder / "hf")}
        here |= {"LAYERSHIFT_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1" if offline else "0"}
        here["LAYERSHIFT_STUDIES"] = str(self.folder / "studies")
        full = [sys.executable, "-m", "backend", *command]
        done = subprocess.run(full, cwd=ROOT, env=here, capture_output=True, text=True, timeout=300, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    study = tiny_study(root / "study", (1,))
    rewrite(study, '[[checkpoints]]\nlabel = "epoch 2"\npath = "checkpoints/epoch-2"\n', "")
    sample = fake_sample(120)
    table = pd.DataFrame({"text": sample.text, "label": sample.label})
    for name in ("films/data", "two/one", "two/other", "empty"):
        (root / name).mkdir(parents=True)
    table.to_parquet(root / "films" / "data" / "test-00000-of-00001.parquet")
    table.head(60).to_parquet(root / "films" / "data" / "train-00000-of-00001.parquet")
    table.to_csv(root / "two" / "one" / "test.csv", index=False)
    table.assign(label=1 - table.label).to_csv(root / "two" / "other" / "test.csv", index=False)
    (root / "two" / "README.md").write_text(CONFIGURED)
    (root / "empty" / "README.md").write_text("Nothing yet.\n")
    repositories = {f"datasets/a/{name}": {"main": root / name} for name in ("films", "two", "empty")}
    with hub_of(repositories | {"datasets/a/gated": {}}) as (address, fetched):
        yield Hub(study, address, fetched)


def test_a_hub_data_set_is_read_once_and_then_offline(hub: Hub):
    keys, out = 'repo = "a/films"', hub.folder / "out"
    code, said, error = hub.run(keys, "check", str(hub.folder))
    assert code == 0, error
    assert "20 texts" in said
    assert "datasets/a/films/main/data/test-00000-of-00001.parquet" in hub.fetched
    before = list(hub.fetched)
    export = ("export", str(hub.folder), "--out", str(out), "--only", "accuracy")
    code, _, error = hub.run(keys, *export, offline=True)
    assert code == 0, error
    assert hub.fetched == before
    ours = (out / "accuracy.csv").read_text()
    code, _, error = hub.run('path = "reviews.csv"', *export)
    assert code == 0, error
    assert (out / "accuracy.csv").read_text() == ours  # the same rows in the same order


def test_a_configuration_is_named_by_config(hub: Hub):
    code, said, error = hub.run('repo = "a/two"\nconfig = "other"', "check", str(hub.folder))
    assert code == 0, error
    assert "20 texts" in said


def test_new_takes_a_configuration(hub: Hub):
    models = ("--base", str(hub.folder / "base"), "--checkpoints", str(hub.folder / "checkpoints" / "epoch-1"))
    new = ("new", "named", *models, "--data", "a/two", "--config", "other")
    code, _, error = hub.run('path = "reviews.csv"', *new)
    assert code == 0, error
    written = load_study(hub.folder / "studies" / "named").dataset
    assert (written.repo, written.config, written.split) == ("a/two", "other", "test")
    code, _, error = hub.run(
        'path = "reviews.csv"', "new", "file", *models, *new[-2:], "--data", str(hub.folder / "reviews.csv")
    )
    assert code == 2
    assert "is no dataset on the hub, so it has no configurations; name none." in error


MISTAKES = {
    "split": (
        'repo = "a/films"\nsplit = "validation"',
        'a/films has no split "validation"; name one of these as split: ',
    ),
    "column": ('repo = "a/films"\ntext = "body"', 'a/films has no column "body" (dataset.text); its columns are: text'),
    "labels": ('repo = "a/films"\nlabel = "stars"', 'a/films has no column "stars" (dataset.label); its columns are'),
    "several configurations": (
        'repo = "a/two"',
        "a/two has several configurations; name one as config: one, other.",
    ),
    "configuration": (
        'repo = "a/two"\nconfig = "three"',
        'a/two has no configuration "three"; name one of these as config: one, other.',
    ),
    "nowhere": ('repo = "a/nowhere"', "'a/nowhere' doesn't exist on the Hub or cannot be accessed); check its name"),
    "gated": ('repo = "a/gated"', "a/gated is gated on the hub; ask for access on its page, then run `hf auth login`."),
    "empty": ('repo = "a/empty"', "doesn't contain any data files); check its name and the network, or name a local"),
    "key": ('repo = "a/films"\nrevision = "v2"', "dataset.revision is an unknown key; remove it or correct its"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(hub: Hub, mistake: str):
    keys, says = MISTAKES[mistake]
    code, said, error = hub.run(keys, "check", str(hub.folder))
    assert (code, said) == (2, "")
    assert says in error
    assert error.endswith(".")


@pytest.mark.parametrize("name", ["a/b/c", "a b", "https://hub/a/b"])
def test_a_name_that_no_repository_has(name: str):
    with pytest.raises(DatasetError, match="is no name of a hub dataset; write it as OWNER/NAME"):
        read_hub(name, "test")
