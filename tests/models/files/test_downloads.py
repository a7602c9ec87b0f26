"""Checkpoints of a hub that runs on this machine: revisions by step, adapters in folders, and what cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.__main__ import main
from backend.models.files.downloads import inner_folders, named_adapter, pickled
from tests.hub_server import hub_of
from tests.models.random_adapters import adapter_on
from tests.tiny import rewrite, tiny_study

ROOT = Path(__file__).parents[3]
ONLY = ("--only", "accuracy")


def run(folder: Path, address: str, *command: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that reaches this hub alone."""
    here = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "LAYERSHIFT_CACHE": str(folder / "c")}
    here.pop("HF_HUB_OFFLINE", None)
    full = [sys.executable, "-m", "backend", *command]
    done = subprocess.run(full, cwd=ROOT, env=here, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_revisions_by_step_are_those_of_the_same_folders_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    disk, study = tiny_study(tmp_path / "disk", (1, 2)), tmp_path / "study"
    shutil.copytree(disk, study, ignore=lambda _, names: [name for name in names if name in ("base", "checkpoints")])
    rewrite(study, 'path = "base"', 'repo = "a/base"')
    text = (study / "study.toml").read_text()
    start, end = text.index("[[checkpoints]]"), text.index("[dataset]")
    several = '[[checkpoints]]\nrepo = "a/run"\nrevision = "step{n}"\nsteps = [1, 2]\n'
    (study / "study.toml").write_text(text[:start] + several + text[end:])
    steps = {f"step{n}": disk / "checkpoints" / f"epoch-{n}" for n in (1, 2)}
    with hub_of({"a/base": {"main": disk / "base"}, "a/run": steps}) as (address, fetched):
        code, said, errors = run(study, address, "check", str(study))
        assert code == 0, errors
        assert "a/run@step1" in said and "a/run@step2" in said
        assert {f"a/run/step{n}/model.safetensors" for n in (1, 2)} | {"a/base/main/model.safetensors"} <= set(fetched)
    code, _, errors = run(study, "http://127.0.0.1:9", "export", str(study), "--out", str(tmp_path / "hub"), *ONLY)
    assert code == 0, errors
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    assert main(["export", str(disk), "--out", str(tmp_path / "plain"), *ONLY]) == 0
    capsys.readouterr()
    ours, plain = ((tmp_path / name / "accuracy.csv").read_text() for name in ("hub", "plain"))
    assert ours.replace("step ", "epoch ") == plain


OTHERS = {  # by label: repository, more keys, and what is in the sentence; None for one that is usable
    "named": ("a/named", "", None),
    "of a folder": ("a/several", 'subfolder = "two"\n', None),
    "several": (
        "a/several",
        "",
        "a/several holds no weights itself, but one, two in it do; set subfolder in study.toml",
    ),
    "inside": ("a/inside", "", "but checkpoint-10 in it does; set subfolder in study.toml to that folder."),
    "pickles": ("a/pickles", "", "a/pickles has pickled weights only (pytorch_model.bin)"),
    "later": ("a/base", 'revision = "step9"\n', "a/base has no revision step9; correct revision in study.toml."),
    "gated": ("a/gated", "", "a/gated is gated on the hub; ask for access on its page"),
    "nowhere": ("a/nowhere", "", "The hub has no public repository a/nowhere; correct repo in study.toml"),
    "no folder": ("a/base", 'subfolder = "three"\n', "has no folder three; correct subfolder in study.toml."),
}


def test_what_a_repository_holds_is_found_or_named(tmp_path: Path):
    study = tiny_study(tmp_path / "study")
    hub = tmp_path / "hub"
    adapter_on(study / "base", hub / "named" / "mine")
    for name in ("one", "two"):
        shutil.copytree(hub / "named" / "mine", hub / "several" / name)
    shutil.copytree(study / "base", hub / "inside" / "checkpoint-10")
    (hub / "pickles").mkdir()
    shutil.copy(study / "base" / "config.json", hub / "pickles")
    (hub / "pickles" / "pytorch_model.bin").write_bytes(b"pickle")
    repositories = {f"a/{one.name}": {"main": one} for one in hub.iterdir()}
    repositories |= {"a/base": {"main": study / "base"}, "a/gated": {}}
    entries = [
        f'[[checkpoints]]\nlabel = "{label}"\nrepo = "{repo}"\n{keys}' for label, (repo, keys, _) in OTHERS.items()
    ]
    text = (study / "study.toml").read_text()
    start, end = text.index("[[checkpoints]]"), text.index("[dataset]")
    (study / "study.toml").write_text(text[:start] + "".join(entries) + text[end:])
    with hub_of(repositories) as (address, fetched):
        both = [run(study, address, "check", str(study)) for _ in range(2)]
    for code, said, _ in both:  # the second time, the folder of one entry lies where another looks
        assert code == 2
        lines = {line[2:14].strip(): line for line in said.splitlines() if line.startswith("  ")}
        for label, (_, _, sentence) in OTHERS.items():
            assert (sentence or "0.03 M parameters") in lines[label]
    assert "a/several/main/one/adapter_model.safetensors" not in fetched


def test_the_files_of_a_repository():
    alone = ("mine/adapter_config.json", "mine/adapter_model.safetensors", "README.md")
    step = tuple(name.replace("mine", "checkpoint-5") for name in alone)
    whole = ("merged/config.json", "merged/model-00001-of-00002.safetensors")
    assert named_adapter(alone) == "mine"
    assert named_adapter(step) is named_adapter(whole) is named_adapter(alone + whole) is None
    assert inner_folders((*alone, *step, *whole, "config.json", "logs/config.json")) == (
        "checkpoint-5",
        "merged",
        "mine",
    )
    assert pickled(("a.txt", "pytorch_model.bin")) == "pytorch_model.bin"
    assert pickled(alone) is None
