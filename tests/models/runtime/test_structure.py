"""Full checkpoints held against their architecture by their headers: what `check` refuses, opening refuses too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models import catalogue
from backend.models.files.facts import read_facts
from backend.models.files.locate import locate
from backend.models.local import LocalModels
from backend.models.runtime.devices import choose_device
from backend.models.runtime.load import open_model
from backend.models.runtime.structure import check_structure
from tests.device import ask
from tests.models.odd_folders import BROKEN, SOUND, both, classify, config, drop, weights
from tests.models.random_models import ref
from tests.tiny import tiny_model

IDS = torch.tensor([[3, 1, 4, 1, 5]])
Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sound checkpoint of each family."""
    found = {family: tmp_path_factory.mktemp(family) / "clean" for family in ("gpt2", "llama", "bert")}
    for family, folder in found.items():
        tiny_model(folder, seed=1, family=family)
    return found


@pytest.fixture
def make(clean: dict[str, Path], tmp_path: Path) -> Make:
    return lambda family: Path(shutil.copytree(clean[family], tmp_path / "odd"))


def logits(folder: Path) -> np.ndarray:
    """By our own opening, every weight from the files."""
    located = locate(ref(folder))
    architecture = read_facts(located, "here").architecture
    with torch.no_grad():
        loaded = open_model(located, None, architecture, choose_device(), "float32", None)
        return ask(loaded.model, IDS).logits.cpu().numpy()


@pytest.mark.parametrize("case", [name for name, odd in BROKEN.items() if "label words" not in odd.says])
def test_what_nothing_can_compute_with_is_refused_before_and_while_opening(case: str, make: Make, models: LocalModels):
    odd = BROKEN[case]
    folder = make(odd.family)
    odd.change(folder)
    with pytest.raises(CheckpointError) as caught:
        models.check(ref(folder), ref(folder))
    said = str(caught.value)
    assert odd.says in said
    assert said.endswith(".") and "\n" not in said
    with pytest.raises(CheckpointError):
        logits(folder)


@pytest.mark.parametrize("case", SOUND)
def test_odd_checkpoints_compute_what_the_clean_one_computes(
    case: str, make: Make, models: LocalModels, clean: dict[str, Path]
):
    odd = SOUND[case]
    folder = make(odd.family)
    odd.change(folder)
    models.check(ref(folder, "epoch 1"), ref(clean[odd.family]))
    facts = models.facts(ref(folder), ref(folder))
    theirs = getattr(transformers, facts.architecture).from_pretrained(clean[odd.family], dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(IDS).logits.numpy()
    assert facts.architecture == type(theirs).__name__
    np.testing.assert_allclose(logits(folder), expected, rtol=1e-5, atol=1e-5)


def test_a_head_of_three_rows_that_the_config_leaves_out_opens_with_three(make: Make, models: LocalModels):
    folder = make("bert")
    both(classify(3, id2label=None, label2id=None, architectures=None))(folder)
    models.check(ref(folder), ref(folder))
    assert models.facts(ref(folder), ref(folder)).answers == 3
    assert logits(folder).shape == (1, 3)


def test_a_body_without_a_pooler_opens_without_one(make: Make, models: LocalModels):
    folder = make("bert")
    both(drop("pooler", "classifier"), config(architectures=["BertModel"]))(folder)
    models.check(ref(folder), ref(folder))
    located = locate(ref(folder))
    loaded = open_model(located, None, "BertModel", choose_device(), "float32", None)
    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(ask(loaded.model, IDS)[0].cpu(), theirs(IDS)[0], rtol=1e-5, atol=1e-5)
    assert not any("pooler" in name for name, _ in loaded.model.named_parameters())


def test_the_answer_is_remembered_with_the_content(make: Make, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    folder = make("gpt2")
    LocalModels(cache).check(ref(folder), ref(folder))
    asked: list[str] = []
    real = check_structure
    monkeypatch.setattr(
        "backend.models.runtime.structure.check_structure", lambda *args: asked.append("again") or real(*args)
    )
    LocalModels(cache).check(ref(folder), ref(folder))
    assert asked == []
    drop("ln_f")(folder)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="lacks weights"):
            LocalModels(cache).check(ref(folder), ref(folder))
    assert asked == ["again"], "a refusal is remembered too"
    monkeypatch.setattr(catalogue, "version", lambda _: "99")
    with pytest.raises(CheckpointError, match="lacks weights"):
        LocalModels(cache).check(ref(folder), ref(folder))
    assert asked == ["again", "again"]


def test_nothing_but_headers_is_read(make: Make):
    """Every value but those of the headers is zero: the model is never filled."""
    folder = make("llama")
    weights(lambda held: [value.fill_(float("nan")) for value in held.values()])(folder)
    check_structure(locate(ref(folder)), "LlamaForCausalLM")
