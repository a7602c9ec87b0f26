"""Paths that hold no checkpoint themselves: what is found there is named, and what to point at."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backend.errors import CheckpointError
from backend.models.files.locate import locate
from backend.study.config import CheckpointRef
from tests.models.misplaced_folders import MISPLACED, inside, only
from tests.models.random_models import ref


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        locate(ref(folder))
    said = str(caught.value)
    assert said.startswith(str(folder)) or "LFS" in said
    assert said.endswith(".") and "\n" not in said
    return said


@pytest.mark.parametrize("case", MISPLACED)
def test_what_is_there_is_named(case: str, gpt2: Path):
    MISPLACED[case].change(gpt2)
    assert MISPLACED[case].says in refused(gpt2)


def test_a_folder_of_the_hubs_cache(gpt2: Path, tmp_path: Path):
    inside("models--some--model/snapshots/c0ffee")(gpt2)
    hub = gpt2 / "models--some--model"
    for place in (hub, hub / "snapshots"):
        said = refused(place)
        assert 'set repo = "some/model" instead of path' in said
        assert said.endswith(f"or point to {hub / 'snapshots' / 'c0ffee'}.")
    assert locate(ref(hub / "snapshots" / "c0ffee")).weights


def test_what_is_named_can_be_opened(gpt2: Path):
    """The path at the end of the sentence is a checkpoint."""
    inside("deep/er/merged")(gpt2)
    place = Path(refused(gpt2).rpartition("point to ")[2].removesuffix("."))
    assert locate(ref(place)).weights == (place / "model.safetensors",)


def test_a_part_of_a_checkpoint(gpt2: Path):
    (gpt2 / "global_step12").mkdir()
    assert refused(gpt2 / "global_step12").endswith(f"is a part of the checkpoint {gpt2}; point there.")
    (gpt2 / "epoch-9").mkdir()
    assert "is empty" in refused(gpt2 / "epoch-9")


def test_many_checkpoints_are_counted(gpt2: Path):
    inside(*(f"checkpoint-{step}" for step in (100, 20, 3, 1000, 400)))(gpt2)
    assert "5 checkpoints (checkpoint-3, checkpoint-20, checkpoint-100, checkpoint-400 and 1 more)" in refused(gpt2)


def test_deepspeeds_script_is_run_where_it_lies(gpt2: Path):
    only("zero_to_fp32.py", "global_step9/mp_rank_00_model_states.pt")(gpt2)
    assert f"--safe_serialization` in {gpt2}, copy" in refused(gpt2 / "global_step9")


class Bomb:
    """An object that creates a file when unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.bin", "model.pt", "weights.pth", "epoch=1.ckpt"])
def test_a_pickle_is_never_opened(name: str, gpt2: Path, tmp_path: Path):
    (gpt2 / "model.safetensors").unlink()
    torch.save({"weights": Bomb(tmp_path / "exploded")}, gpt2 / name)
    with pytest.raises(CheckpointError, match=re.escape(f"has pickled weights only ({name})")) as caught:
        locate(CheckpointRef(path=str(gpt2)))
    assert "python -c " in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "it's.pt", "epoch=1.ckpt"])
def test_the_command_converts_them(name: str, gpt2: Path, tmp_path: Path):
    held = load_file(gpt2 / "model.safetensors")
    (gpt2 / "model.safetensors").unlink()
    torch.save({"state_dict": held} if name.endswith(".ckpt") else held, gpt2 / name)
    with pytest.raises(CheckpointError) as caught:
        locate(CheckpointRef(path=str(gpt2)))
    words = shlex.split(str(caught.value).partition("with: ")[2].rstrip("."))
    program = words[words.index("-c") + 1].rstrip(",")
    subprocess.run([sys.executable, "-c", program], cwd=gpt2, check=True, capture_output=True)
    made = load_file(next(gpt2.rglob("model.safetensors")))
    assert made.keys() >= {key for key in held if "lm_head" not in key} - {"lm_head.weight"}
    assert all(torch.equal(made[key], held[key]) for key in made)


def test_a_name_in_a_config_is_no_code(gpt2: Path):
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "pytorch_model.bin").write_bytes(b"")
    (gpt2 / "config.json").write_text(json.dumps({"architectures": ["x; import os"]}))
    with pytest.raises(CheckpointError, match=r"t\.AutoModelForCausalLM\.from_pretrained"):
        locate(CheckpointRef(path=str(gpt2)))
