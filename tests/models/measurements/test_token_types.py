"""Pairs of texts in encoders, against transformers' own `tokenizer(first, second)`, one pair at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backend.caching.cache import Cache
from backend.caching.progress import silent
from backend.errors import PromptError, UndefinedError
from backend.lab.lab import Lab
from backend.lab.outputs import SteeringVectors, Swap
from backend.lab.pinning import pin
from backend.models.local import LocalModels
from backend.models.measurements.layer_residuals import read_tokens
from backend.reports.export import write_sample
from backend.study.config import load_study
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import leave_out, read_typed
from tests.models.encoder_pairs import pair_study
from tests.models.random_models import LAYERS, WIDTH, real_lab
from tests.models.references import exchanged
from tests.tiny import rewrite

NAMES = ("Bert", "Roberta", "DistilBert")


@pytest.fixture
def lab(cache: Cache, models: LocalModels) -> Lab:
    return real_lab(cache, models)


@torch.inference_mode()
def plain(pinned: PinnedStudy, model: Any, label: str, **options: Any) -> list[Any]:
    """What transformers gives for each pair of the sample."""
    tokens = AutoTokenizer.from_pretrained(str(pinned.checkpoint(label).ref.path))
    return [model(**tokens(first, second, return_tensors="pt"), **options) for first, second in pinned.sample.parts]


def own(pinned: PinnedStudy, label: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(str(pinned.checkpoint(label).ref.path)).eval()


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_read_as_transformers_reads_them(name: str, tmp_path: Path, lab: Lab, models: LocalModels) -> None:
    pinned = pin(load_study(pair_study(tmp_path / "pairs", name)), lab)
    tuned, base, prompts = pinned.checkpoint("tuned"), pinned.base, pinned.prompts
    assert bool(prompts.token_types) == (name == "Bert") and not prompts.truncated.any()

    read = models.readout(tuned, prompts, silent)
    expected = plain(pinned, own(pinned, "tuned"), "tuned", output_hidden_states=True)
    residuals = np.stack([torch.stack(one.hidden_states)[:, 0, 0].numpy() for one in expected])
    np.testing.assert_allclose(read.residuals, residuals, atol=1e-4)
    np.testing.assert_allclose(read.logits, np.stack([one.logits[0] for one in expected]), atol=1e-4)
    assert read.logits.std() > 0.05

    plan = (Swap("embed"), Swap("attn", 1, 1), Swap("block", 0, LAYERS - 1))
    found = models.swaps(base, tuned, plan, prompts, silent)
    for swap, logits in zip(plan, found, strict=True):
        mixed = exchanged(own(pinned, "base"), own(pinned, "tuned"), swap)
        there = plain(pinned, mixed, "base")
        np.testing.assert_allclose(logits, np.stack([one.logits[0] for one in there]), atol=1e-4)

    still = SteeringVectors((1,), np.zeros((1, WIDTH), np.float32), "all")
    np.testing.assert_allclose(models.steered(tuned, (still,), prompts, silent)[0], read.logits, atol=1e-4)
    whole = expected[0].hidden_states
    text = models.read_text(tuned, prompts, 3, silent)
    np.testing.assert_allclose(text.residuals, torch.stack(whole)[:, 0].transpose(0, 1).numpy(), atol=1e-4)
    patched = models.patch(tuned, base, prompts, silent)
    np.testing.assert_allclose(patched.host, read.logits[0], atol=1e-4)
    with models.store.borrow(tuned) as loaded:
        every = read_tokens(loaded, prompts, 1, silent, "Reading").residuals
    each = np.concatenate([one.hidden_states[1][0].numpy() for one in expected])
    np.testing.assert_allclose(every, each, atol=1e-4)
    crossed = models.crossed_updates(tuned, base, prompts, silent)
    steps = residuals[:, 1:] - residuals[:, :-1]
    np.testing.assert_allclose(crossed[:, :, 1, 1], steps, atol=2e-4)


def test_token_types_count(tmp_path: Path, lab: Lab) -> None:
    pinned = pin(load_study(pair_study(tmp_path / "pairs", "Bert")), lab)
    tokens, (first, second) = AutoTokenizer.from_pretrained(tmp_path / "pairs" / "base"), pinned.sample.parts[0]
    assert list(pinned.prompts.token_types[0]) == tokens(first, second)["token_type_ids"]
    assert list(pinned.prompts.some([3]).token_types) == [pinned.prompts.token_types[3]]
    line = json.loads(write_sample(pinned, tmp_path).read_text().splitlines()[0])
    assert line["token_type_ids"] == tokens(first, second)["token_type_ids"]
    rewrite(tmp_path / "pairs", "{premise} {hypothesis}", "{premise} and {hypothesis}")
    other = pin(load_study(tmp_path / "pairs"), lab).prompts
    assert list(other.token_ids[0]) == tokens(f"{first} and {second}")["input_ids"]
    assert not other.token_types and other.digest != pinned.prompts.digest
    rewrite(tmp_path / "pairs", "{premise} and {hypothesis}", "{hypothesis} [SEP] {premise}")
    with pytest.raises(PromptError, match=r'holds \[SEP\], and .* token types.*template = "{hypothesis} {premise}"'):
        pin(load_study(tmp_path / "pairs"), lab)


def test_a_tokenizer_that_hands_no_token_types_on(tmp_path: Path, lab: Lab) -> None:
    study = load_study(pair_study(tmp_path / "pairs", "Bert"))
    file = tmp_path / "pairs" / "tuned" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_input_names": ["input_ids", "attention_mask"]}))
    (missing,) = pin(study, lab).missing
    assert "sets other token types of the same ids; set prompt.tokenizer" in missing.reason
    rewrite(tmp_path / "pairs", "max_tokens", 'tokenizer = "own", max_tokens')
    pinned = pin(load_study(tmp_path / "pairs"), lab)
    tuned = pinned.checkpoint("tuned")
    assert not pinned.prompts.seen_by(tuned).token_types and not pinned.same_ids(pinned.base, tuned)
    expected = plain(pinned, own(pinned, "tuned"), "tuned")
    logits = lab.models.readout(tuned, pinned.prompts, silent).logits
    np.testing.assert_allclose(logits, np.stack([one.logits[0] for one in expected]), atol=1e-4)
    with pytest.raises(UndefinedError, match="different token ids"):
        lab.models.swaps(pinned.base, tuned, (Swap("embed"),), pinned.prompts, silent)
    rewrite(tmp_path / "pairs", '"own"', '"base"')
    assert not pin(load_study(tmp_path / "pairs"), lab).prompts.own


@pytest.mark.parametrize("name", NAMES)
def test_a_typed_pair_and_a_long_one(name: str, tmp_path: Path, lab: Lab) -> None:
    pinned = pin(load_study(pair_study(tmp_path / "pairs", name)), lab)
    tokens = AutoTokenizer.from_pretrained(tmp_path / "pairs" / "base")
    typed = read_typed(pinned.readers, "ab cd\nef gh")
    assert list(typed.prompts.token_ids[0]) == tokens("ab cd", "ef gh")["input_ids"]
    assert "".join(typed.pieces) == "ab cd ef gh" and typed.parts == ("ab cd", "ef gh")
    fewer, words = leave_out(pinned.readers, typed.parts, 4)
    assert words == ("ab", "cd", "ef", "gh")
    rest = [("ab cd", "ef gh"), ("cd", "ef gh"), ("ab", "ef gh"), ("ab cd", "gh"), ("ab cd", "ef")]
    assert [list(ids) for ids in fewer.token_ids] == [tokens(*pair)["input_ids"] for pair in rest]
    long = read_typed(pinned.readers, "a" * 90 + "\nbc")
    assert len(long.prompts.token_ids[0]) <= 40 and long.prompts.truncated[0] and long.parts[1] == "bc"
    assert list(long.prompts.token_ids[0]) == tokens(*long.parts)["input_ids"]
