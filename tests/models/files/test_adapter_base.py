"""Whose adapter: the base that it names against the study's, and bases that were quantized in training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.models.files.adapter_base import doubts
from backend.models.files.locate import Located
from backend.models.local import LocalModels
from backend.study.config import CheckpointRef
from tests.models.random_adapters import TARGETS, trained
from tests.models.random_models import random_model, ref, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter's folder, as far as doubts go."""
    (tmp_path / "run" / "checkpoint-10").mkdir(parents=True)
    return tmp_path / "run" / "checkpoint-10"


def asked(folder: Path, cache: Cache, named: str | None, base: CheckpointRef, config: dict[str, object]) -> str:
    """The doubts about an adapter that names its base so, beside a study's base with this config."""
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    below = folder.parent.parent / "plain"
    below.mkdir(exist_ok=True)
    (below / "config.json").write_text(json.dumps(config))
    found = doubts(Located(folder, (), True), "here", base, Located(below, (), False), cache)
    assert all(one.endswith(".") and "\n" not in one for one in found)
    return " ".join(found)


def repo(name: str) -> CheckpointRef:
    return CheckpointRef(repo=name)


def path(name: str) -> CheckpointRef:
    return CheckpointRef(path=name)


@pytest.mark.parametrize(
    ("named", "base"),
    [
        ("meta-llama/Llama-3.2-1B", repo("meta-llama/Llama-3.2-1B")),
        ("meta-llama/llama-3.2-1b", repo("meta-llama/Llama-3.2-1B")),
        ("meta-llama/Llama-3.2-1B", path("/models/Llama-3.2-1B")),
        ("/models/Llama-3.2-1B/", repo("meta-llama/Llama-3.2-1B")),
        ("unsloth/Llama-3.2-1B", repo("meta-llama/Llama-3.2-1B")),
        ("C:\\models\\Llama-3.2-1B", repo("meta-llama/Llama-3.2-1B")),
        ("gpt2", repo("openai-community/gpt2")),
        ("/gone/base", path("/studies/mine/base")),
        ("./base", path("/studies/mine/base")),
        (f"/cache/models--openai-community--gpt2/snapshots/{'0a' * 20}", repo("openai-community/gpt2")),
        ("openai-community/gpt2", path(f"/cache/models--openai-community--gpt2/snapshots/{'0a' * 20}")),
        (None, repo("openai-community/gpt2")),
        ("", repo("openai-community/gpt2")),
    ],
)
def test_one_model_under_two_names_raises_no_doubt(folder: Path, cache: Cache, named: str | None, base: CheckpointRef):
    assert asked(folder, cache, named, base, {}) == ""


@pytest.mark.parametrize(
    ("named", "base"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", repo("meta-llama/Llama-3.2-1B")),
        ("meta-llama/Llama-3.2-3B", path("/models/Llama-3.2-1B")),
        ("/gone/base-a", path("/studies/mine/base-b")),
        ("openai-community/gpt2", path("/studies/mine/base")),
        ("distilgpt2", repo("openai-community/gpt2")),
    ],
)
def test_another_base_is_said_in_a_sentence(folder: Path, cache: Cache, named: str, base: CheckpointRef):
    found = asked(folder, cache, named, base, {})
    assert f'here says that it was trained on "{named}", and the base of this study is {base.place};' in found


def test_the_config_of_a_base_in_a_folder_may_tell_its_name(folder: Path, cache: Cache):
    base = path("/studies/mine/base")
    assert asked(folder, cache, "openai-community/gpt2", base, {"_name_or_path": "gpt2"}) == ""
    assert "trained on" in asked(folder, cache, "distilgpt2", base, {"_name_or_path": "gpt2"})


@pytest.mark.parametrize(
    ("named", "plain"),
    [
        ("unsloth/Llama-3.2-1B-bnb-4bit", "meta-llama/Llama-3.2-1B"),
        ("unsloth/llama-3.2-1b-unsloth-bnb-4bit", "meta-llama/Llama-3.2-1B"),
        ("TheBloke/Mistral-7B-v0.1-GPTQ", "mistralai/Mistral-7B-v0.1"),
        ("TheBloke/Mistral-7B-v0.1-AWQ", "mistralai/Mistral-7B-v0.1"),
        ("Qwen/Qwen2-0.5B-GPTQ-Int4", "Qwen/Qwen2-0.5B"),
        ("/models/Llama-3.2-1B-4bit", "meta-llama/Llama-3.2-1B"),
        ("org/Llama-3.2-1B-int8", "meta-llama/Llama-3.2-1B"),
    ],
)
def test_a_quantized_base_by_its_name(folder: Path, cache: Cache, named: str, plain: str):
    found = asked(folder, cache, named, repo(plain), {})
    assert found.startswith(f"here was trained on a quantized base (its config names {named}) and is merged onto the")
    other = asked(folder, cache, named, repo("org/other"), {})
    assert "says that it was trained on" in other and "quantized base" in other


NOTES = {
    "peft's": ("README.md", "- quant_method: bitsandbytes\n- load_in_8bit: False\n- load_in_4bit: True\n"),
    "8 bits": ("README.md", "- _load_in_8bit: True\n- _load_in_4bit: False\n"),
    "axolotl's": ("README.md", "```yaml\nadapter: qlora\nbase_model: gpt2\n```"),
    "axolotl's file": ("axolotl_config.yaml", "load_in_4bit: true\n"),
    "LLaMA-Factory's": ("training_args.yaml", "quantization_bit: 4\n"),
}


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("notes", NOTES)
def test_a_quantized_base_by_notes_of_the_trainer(folder: Path, cache: Cache, notes: str, above: bool):
    file, text = NOTES[notes]
    ((folder.parent if above else folder) / file).write_text(text)
    assert f"in {file}) and is merged" in asked(folder, cache, "gpt2", repo("openai-community/gpt2"), {})


@pytest.mark.parametrize(
    "text",
    [
        "- load_in_8bit: False\n- load_in_4bit: False\n",
        "# load_in_4bit: true\nadapter: lora\n",
        "Set load_in_4bit=True to save memory.",
    ],
)
def test_a_plain_base_raises_no_doubt(folder: Path, cache: Cache, text: str):
    (folder / "README.md").write_text(text)
    assert asked(folder, cache, "gpt2", repo("openai-community/gpt2"), {}) == ""


def test_a_quantized_base_by_the_config_beside_the_adapter(folder: Path, cache: Cache):
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"load_in_4bit": True}}))
    assert "quantization_config in the config.json" in asked(folder, cache, "gpt2", repo("gpt2"), {})


def test_folders_that_are_here_are_compared_by_content(models: LocalModels, tmp_path: Path):
    base = save(random_model("llama"), tmp_path / "a" / "base")
    other = save(random_model("llama", seed=1), tmp_path / "b" / "base")
    trained(other, tmp_path / "adapter", target_modules=TARGETS["llama"])
    (found,) = models.warnings(ref(tmp_path / "adapter", "epoch 1"), ref(base))
    assert f'was trained on "{other}", and the base of this study is {base};' in found
    assert models.warnings(ref(tmp_path / "adapter", "epoch 1"), ref(other)) == ()
    shutil.copytree(other, tmp_path / "copied")
    assert models.warnings(ref(tmp_path / "adapter", "epoch 1"), ref(tmp_path / "copied")) == ()
    assert models.warnings(ref(other, "epoch 1"), ref(base)) == ()
