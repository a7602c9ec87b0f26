"""The port that analyses see: content in, arrays out, and no torch until a model is opened."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from backend.caching.cache import Cache
from backend.caching.progress import silent
from backend.errors import CheckpointError, DeviceError, PromptError
from backend.lab.lab import Lab
from backend.lab.models import Models
from backend.models.local import LocalModels
from backend.models.measurements.residuals import collect
from backend.study.token_ids import Prompts
from backend.training.local_autoencoders import LocalAutoencoders
from tests.device import DEVICE
from tests.models.random_adapters import adapter_on
from tests.models.random_models import POSITIONS, Pin, make_prompts, random_model, ref, save


def test_it_implements_the_port(models: LocalModels, cache: Cache):
    port: Models = models
    assert Lab(cache, port, LocalAutoencoders(models)).models.device.startswith(DEVICE.type)


def test_everything_but_a_readout_needs_no_torch_once_the_tokenizer_is_known(gpt2: Path, tmp_path: Path):
    program = f"""
import sys
from pathlib import Path
from backend.models.local import LocalModels
from backend.caching.cache import Cache
from backend.training.local_autoencoders import LocalAutoencoders
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
models, one = LocalModels(Cache(Path({str(tmp_path / "cache")!r}))), CheckpointRef(path={str(gpt2)!r})
pinned = PinnedCheckpoint(models.fingerprint(one, one), "float32", one, one, models.facts(one, one))
models.check(one, one), models.tokenizer(one, one).encode("text"), models.device, models.reading(pinned, 10)
found = {{"torch", "transformers", "peft", "accelerate", "huggingface_hub"}} & set(sys.modules)
print(sorted(found))
"""
    LocalModels(Cache(tmp_path / "cache")).check(ref(gpt2), ref(gpt2))  # the first look at the weights takes torch
    command = [sys.executable, "-c", program]
    subprocess.run(command, capture_output=True, check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_readout(models: LocalModels, pin: Pin, gpt2: Path, prompts: Prompts):
    pinned, said = pin(gpt2), []
    found = models.readout(pinned, prompts, lambda fraction, sentence: said.append((fraction, sentence)))
    with models.store.borrow(pinned) as loaded:
        np.testing.assert_array_equal(found.residuals, collect(loaded, prompts, silent).residuals)
    assert said[0] == (0.0, "Preparing to open base.")
    assert said[-1][1].startswith("base: reading prompts: ")
    assert all(0 <= fraction <= 1 for fraction, _ in said)
    assert models.device == str(DEVICE)


def test_readout_of_an_adapter(models: LocalModels, pin: Pin, gpt2: Path, tmp_path: Path):
    theirs = adapter_on(gpt2, tmp_path / "adapter")
    pinned = pin(tmp_path / "adapter", gpt2, label="epoch 1")
    assert pinned.facts == replace(pin(gpt2).facts, adapter=True)
    assert models.tokenizer(pinned.ref, pinned.base).encode("text").ids
    models.check(pinned.ref, pinned.base)
    prompts = make_prompts([9])
    with torch.no_grad():
        expected = theirs(torch.tensor([prompts.token_ids[0]])).logits[0, -1, list(prompts.label_tokens)]
    found = models.readout(pinned, prompts, silent)
    np.testing.assert_allclose(found.logits[0], expected.numpy(), rtol=1e-4, atol=1e-4)
    save(random_model("gpt2", seed=9), gpt2)
    assert models.fingerprint(pinned.ref, pinned.base) != pinned.fingerprint
    with pytest.raises(CheckpointError, match="is an adapter; the base of a study must be a whole model"):
        models.facts(pinned.ref, pinned.ref)


def test_a_checkpoint_is_checked_against_its_base(models: LocalModels, gpt2: Path, tmp_path: Path):
    bare = save(random_model("gpt2", seed=1), tmp_path / "bare", tokenizer=False)
    models.check(ref(bare, "epoch 1"), ref(gpt2))
    assert models.tokenizer(ref(bare, "epoch 1"), ref(gpt2)).to_str() == models.tokenizer(ref(gpt2), ref(gpt2)).to_str()
    with pytest.raises(CheckpointError, match="bare has no tokenizer"):
        models.tokenizer(ref(bare), ref(bare))
    other = save(random_model("llama"), tmp_path / "llama")
    with pytest.raises(CheckpointError, match="its architecture is LlamaForCausalLM, the base's GPT2LMHeadModel"):
        models.check(ref(other, "epoch 1"), ref(gpt2))
    shallow = save(random_model("gpt2", layers=2), tmp_path / "shallow")
    with pytest.raises(CheckpointError, match="its number of blocks is 2"):
        models.check(ref(shallow, "epoch 1"), ref(gpt2))


def test_a_check_that_passed_is_remembered(models: LocalModels, gpt2: Path, tmp_path: Path, monkeypatch):
    later = save(random_model("gpt2", seed=1), tmp_path / "later")
    models.check(ref(later, "epoch 1"), ref(gpt2))

    def unread(*_: object) -> None:
        raise RuntimeError("compared again")

    monkeypatch.setattr("backend.models.catalogue.compare_tokens", unread)
    models.check(ref(later, "epoch 1"), ref(gpt2))
    save(random_model("gpt2", seed=2), later)
    with pytest.raises(RuntimeError, match="compared again"):
        models.check(ref(later, "epoch 1"), ref(gpt2))


def test_prompts_that_do_not_fit_the_model_are_errors(models: LocalModels, pin: Pin, gpt2: Path):
    with pytest.raises(PromptError, match=f"has {POSITIONS} positions; lower prompt.max_tokens to at most {POSITIONS}"):
        models.readout(pin(gpt2), make_prompts([3, POSITIONS + 1]), silent)
    vocabulary = pin(gpt2).facts.vocabulary
    with pytest.raises(CheckpointError, match=f"has {vocabulary} tokens and the prompts use token"):
        models.readout(pin(gpt2), make_prompts([60, 60], vocabulary=vocabulary * 50), silent)
    with pytest.raises(CheckpointError, match="the prompts use token 99999"):
        models.readout(pin(gpt2), replace(make_prompts([3, 4]), label_tokens=(1, 99_999)), silent)


def test_the_estimate_follows_what_was_measured(models: LocalModels, pin: Pin, gpt2: Path, prompts: Prompts):
    pinned = pin(gpt2)
    guess = models.reading(pinned, 10_000_000)
    assert guess > 0
    assert models.opening(pinned) > 0
    models.readout(pinned, prompts, silent)
    assert (models.starting(), models.opening(pinned)) == (0, 0)
    tokens = int(prompts.lengths.sum())
    assert models.reading(pinned, 2 * tokens) == pytest.approx(2 * models.reading(pinned, tokens))
    assert models.reading(pinned, 10_000_000) != guess


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_that_is_not_there(models: LocalModels, pin: Pin, gpt2: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAYERSHIFT_DEVICE", "cuda")
    assert models.device == "cuda"
    with pytest.raises(DeviceError, match="asks for cuda, but torch finds no CUDA device here"):
        models.readout(pin(gpt2), make_prompts([3, 4]), silent)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0},
        {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "rope_theta": 10_000.0},
    ],
)
def test_rotary_angles_that_follow_the_longest_prompt_are_refused(
    models: LocalModels, pin: Pin, tmp_path: Path, rope: dict[str, Any]
):
    """Up to the length that they are made for, every prompt reads as it does alone, whatever was read before."""
    rope = rope | {"original_max_position_embeddings": 32}
    folder = save(random_model("llama", rope_parameters=rope), tmp_path / "rope")
    prompts = make_prompts([32, 5, 17, 9])
    found = models.readout(pin(folder), prompts, silent)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    for ids, logits in zip(prompts.token_ids, found.logits, strict=True):
        expected = plain(torch.tensor([ids])).logits[0, -1, list(prompts.label_tokens)].detach().numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(PromptError, match=r"longest prompt of the batch; lower prompt\.max_tokens"):
        models.readout(pin(folder), make_prompts([33, 5]), silent)
