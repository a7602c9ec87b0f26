"""Gemma 4 with per-layer embeddings for fewer tokens than its vocabulary: texts that use the others are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from backend.__main__ import main
from backend.caching.progress import silent
from backend.errors import UnsupportedError
from backend.models.local import LocalModels
from backend.models.measurements.generation import continuation
from tests.models.random_models import Pin, make_prompts, save
from tests.tiny import tiny_study
from tests.tiny_families import tiny

SIZE, READ = 1300, 1280
"""More than the fakes' tokenizer has."""


def model(folder: Path, seed: int = 0, read: int = READ) -> Path:
    settings = {"vocab_size": SIZE, "vocab_size_per_layer_input": read}
    return save(tiny("Gemma4ForCausalLM", seed, **settings), folder)


def study(folder: Path, sizes: tuple[int, int, int]) -> Path:
    """A study of base and two epochs with these per-layer vocabularies."""
    tiny_study(folder, (1, 2))
    for seed, (name, read) in enumerate(
        zip(("base", "checkpoints/epoch-1", "checkpoints/epoch-2"), sizes, strict=True)
    ):
        shutil.rmtree(folder / name)
        model(folder / name, seed, read)
    return folder


def test_tokens_that_can_be_read_are_those_of_transformers(pin: Pin, models: LocalModels, tmp_path: Path) -> None:
    checkpoint, prompts = pin(model(tmp_path / "model")), make_prompts([9, 4, 7], vocabulary=READ)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    with torch.no_grad():
        logits = [plain(torch.tensor([ids])).logits[0, -1, list(prompts.label_tokens)] for ids in prompts.token_ids]
    found = models.readout(checkpoint, prompts, silent).logits
    np.testing.assert_allclose(found, torch.stack(logits).numpy(), atol=1e-4)
    with pytest.raises(UnsupportedError, match=r"for 1280 of 1300 tokens, so transformers cannot run texts with token"):
        models.readout(checkpoint, make_prompts([9] * 40, vocabulary=SIZE), silent)


def test_a_text_that_the_model_cannot_read_on_is_one_sentence(pin: Pin, models: LocalModels, tmp_path: Path) -> None:
    checkpoint, prompts = pin(model(tmp_path / "model", read=4)), make_prompts([3], vocabulary=4)
    with models.lend(silent, checkpoint) as (loaded, _):
        assert len(continuation(loaded, prompts, None, 1, None, silent)) == 1
        with pytest.raises(UnsupportedError, match=r"writes token \d+ and has embeddings for 4 tokens in every block"):
            continuation(loaded, prompts, None, 5, None, silent)


@pytest.mark.parametrize(("sizes", "code"), [((600, 600, 600), 2), ((READ, READ, 600), 0), ((READ, READ, READ), 0)])
def test_check_finds_what_export_leaves_out(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], sizes: tuple[int, int, int], code: int
) -> None:
    folder, out = study(tmp_path / "gemma", sizes), root / "out"
    found, says = min(sizes) == READ, "has per-layer embeddings for 600 of 1300 tokens"
    assert main(["check", str(folder)]) == (0 if found else 2)
    said = capsys.readouterr()
    assert (says in said.out + said.err) == (not found)
    tables = "accuracy,output_space,side_effects,attribution"
    assert main(["export", str(folder), "--out", str(out), "--only", tables]) == code
    said = capsys.readouterr()
    assert (says in said.err) == (not found)
    if code == 0:
        assert {"accuracy.csv", "output_space.csv"} <= {file.name for file in out.iterdir()}
