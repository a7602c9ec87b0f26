"""Doubts and digests that files give without opening a model."""

from __future__ import annotations

import shutil
from pathlib import Path

from backend.models.local import LocalModels
from tests.models.odd_folders import config
from tests.models.random_adapters import adapter_on
from tests.models.random_models import random_model, ref, save


def test_a_leftover_quantization_is_a_warning(models: LocalModels, gpt2: Path):
    assert models.warnings(ref(gpt2), ref(gpt2)) == ()
    config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})(gpt2)
    (said,) = models.warnings(ref(gpt2), ref(gpt2))
    assert said.endswith(
        "gpt2 has plain weights and a quantization_config in config.json, which is ignored; remove it there."
    )


def test_weights_whole_and_in_parts_are_a_warning(models: LocalModels, gpt2: Path):
    parts = save(random_model("gpt2", seed=1), gpt2.parent / "parts", max_shard_size="20KB")
    for file in parts.glob("model*"):
        shutil.copy(file, gpt2 / file.name)
    (said,) = models.warnings(ref(gpt2), ref(gpt2))
    assert "holds the weights whole and in parts; model.safetensors is read" in said
    (gpt2 / "model.safetensors").unlink()
    assert models.warnings(ref(gpt2), ref(gpt2)) == ()


def test_weights_are_equal_whatever_lies_beside(models: LocalModels, gpt2: Path, tmp_path: Path):
    copy = Path(shutil.copytree(gpt2, tmp_path / "copy"))
    config(attn_pdrop=0.5)(copy)
    assert models.fingerprint(ref(copy), ref(gpt2)) != models.fingerprint(ref(gpt2), ref(gpt2))
    assert models.weights_digest(ref(copy), ref(gpt2)) == models.weights_digest(ref(gpt2), ref(gpt2))
    other = save(random_model("gpt2", seed=1), tmp_path / "other")
    assert models.weights_digest(ref(other), ref(gpt2)) != models.weights_digest(ref(gpt2), ref(gpt2))


def test_an_adapter_counts_with_its_scale_and_its_base(models: LocalModels, gpt2: Path, tmp_path: Path):
    adapter_on(gpt2, tmp_path / "adapter")
    copy = Path(shutil.copytree(tmp_path / "adapter", tmp_path / "copy"))
    (copy / "README.md").unlink(missing_ok=True)
    first = models.weights_digest(ref(tmp_path / "adapter"), ref(gpt2))
    assert models.weights_digest(ref(copy), ref(gpt2)) == first
    text = (copy / "adapter_config.json").read_text()
    (copy / "adapter_config.json").write_text(text.replace('"lora_alpha": 8', '"lora_alpha": 16'))
    assert models.weights_digest(ref(copy), ref(gpt2)) != first
