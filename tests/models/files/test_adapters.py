"""Adapters as files: the head and the vocabulary that they bring, damaged ones, other names for the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from backend.errors import CheckpointError
from backend.models.files.adapters import read_adapter
from backend.models.files.locate import locate
from backend.models.local import LocalModels
from backend.models.runtime.merge_adapter import verdict_on
from tests.device import ask
from tests.fake_texts import fake_tokenizer
from tests.models.odd_adapters import DAMAGE, FILE, configure, rename, without
from tests.models.random_adapters import TARGETS, based, loaded, same, trained
from tests.models.random_encoders import encoder
from tests.models.random_models import random_model, ref, save

SIZE = fake_tokenizer().get_vocab_size()


def verdict(adapter: Path, base: Path) -> str:
    return verdict_on(read_adapter(locate(ref(adapter)), locate(ref(base))), locate(ref(base)))


def fails_alike(models: LocalModels, adapter: Path, base: Path, message: str) -> None:
    """What opening refuses is what `check` refuses, with the same sentence, and again from the cache."""
    with pytest.raises(CheckpointError, match=message) as opening:
        loaded(base, adapter)
    for _ in range(2):
        with pytest.raises(CheckpointError) as checking:
            models.check(ref(adapter, "epoch 1"), ref(base))
        assert str(checking.value) == str(opening.value)
    assert "\n" not in str(opening.value) and str(opening.value).endswith(".")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return based("llama", tmp_path / "base")


@pytest.fixture
def adapter(llama: Path, tmp_path: Path) -> Path:
    """A LoRA on the Llama."""
    trained(llama, tmp_path / "adapter", target_modules=TARGETS["llama"])
    return tmp_path / "adapter"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("rows", [SIZE + 5, SIZE - 7])
@pytest.mark.parametrize("how", ["resized", "resized and tokens", "resized and saved"])
def test_a_resized_vocabulary(models: LocalModels, tmp_path: Path, name: str, rows: int, how: str):
    base = based(name, tmp_path / "base")
    embed = "wte" if name == "gpt2" else "embed_tokens"
    more = {
        "resized": {},
        "resized and tokens": {"trainable_token_indices": [3, rows - 1]},
        "resized and saved": {"modules_to_save": [embed, "lm_head"]},
    }[how]
    model = trained(
        base, tmp_path / "a", rows=rows, target_modules=TARGETS[name], fan_in_fan_out=name == "gpt2", **more
    )
    same(loaded(base, tmp_path / "a").model, model)
    assert models.facts(ref(tmp_path / "a"), ref(base)).vocabulary == rows
    assert loaded(base, tmp_path / "a").model.config.vocab_size == rows
    models.check(ref(tmp_path / "a"), ref(base))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fake_tokenizer())
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(tmp_path / "a")
    own = models.tokenizer(ref(tmp_path / "a"), ref(base))
    assert own.get_vocab_size() == models.tokenizer(ref(base), ref(base)).get_vocab_size() + 2


def test_new_rows_that_are_nowhere_are_never_made_up(models: LocalModels, llama: Path, tmp_path: Path):
    trained(llama, tmp_path / "a", rows=SIZE + 5, target_modules=["q_proj", "embed_tokens"])
    fails_alike(
        models, tmp_path / "a", llama, f"was trained with {SIZE + 5} tokens and its base has {SIZE}, but it lacks"
    )


HEADS = {"Bert": [], "Roberta": [], "DistilBert": ["pre_classifier"]}


@pytest.mark.parametrize("below", ["Model", "ForMaskedLM", "ForSequenceClassification"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_on_a_base_without_one(models: LocalModels, tmp_path: Path, name: str, below: str):
    base = save(encoder(name, below), tmp_path / "base")
    options = {"auto": f"{name}ForSequenceClassification", "num_labels": 3, "target_modules": ["query", "q_lin"]}
    saved = [*HEADS[name], "classifier"] + (["pooler"] if name == "Bert" else [])
    model = trained(base, tmp_path / "a", modules_to_save=saved, **options)
    same(loaded(base, tmp_path / "a").model, model)
    facts = models.facts(ref(tmp_path / "a"), ref(base))
    assert (facts.architecture, facts.answers, facts.has_head) == (f"{name}ForSequenceClassification", 3, True)
    assert facts.head_names == ()
    models.check(ref(tmp_path / "a"), ref(base))
    named = {"id2label": {"0": "bad", "1": "fair", "2": "good"}}
    (tmp_path / "a" / "config.json").write_text(json.dumps(named))
    assert models.facts(ref(tmp_path / "a"), ref(base)).head_names == ("bad", "fair", "good")


def test_a_part_of_a_head_that_is_nowhere_is_never_made_up(models: LocalModels, tmp_path: Path):
    base = save(encoder("DistilBert", "ForMaskedLM"), tmp_path / "base")
    options = {"auto": "DistilBertForSequenceClassification", "target_modules": ["q_lin"]}
    trained(base, tmp_path / "a", **options)
    rename(tmp_path / "a", without("pre_classifier"))  # PEFT saves it because its name ends in "classifier"
    fails_alike(
        models, tmp_path / "a", base, r"lacks weights of the head that it was trained with \(pre_classifier.bias"
    )
    bert = save(encoder("Bert", "ForMaskedLM"), tmp_path / "bert")
    trained(bert, tmp_path / "b", auto="BertForSequenceClassification", target_modules=["query"])
    fails_alike(models, tmp_path / "b", bert, r"\(bert.pooler.dense.bias, bert.pooler.dense.weight\)")
    rename(tmp_path / "a", without("classifier"))
    with pytest.raises(CheckpointError, match="neither it nor its base has a head"):
        models.facts(ref(tmp_path / "a"), ref(base))


@pytest.mark.parametrize("below", ["Model", "ForMaskedLM"])
def test_an_adapter_trained_on_another_class_of_the_same_body(models: LocalModels, tmp_path: Path, below: str):
    base = save(encoder("Bert", below), tmp_path / "base")
    other = {"Model": "BertForMaskedLM", "ForMaskedLM": "BertModel"}[below]
    whole = save(encoder("Bert", "ForPreTraining"), tmp_path / "whole")
    model = trained(whole, tmp_path / "a", auto=other, task_type=None, target_modules=["query"])
    model = model.merge_and_unload()
    merged = loaded(base, tmp_path / "a").model
    ids = torch.tensor([[3, 1, 4]])
    theirs = model.bert if other == "BertForMaskedLM" else model
    fresh: Any = encoder("Bert", below)
    body = fresh if below == "Model" else fresh.bert
    delta = {name: one.cpu() for name, one in merged.state_dict().items()}, body.state_dict()
    assert verdict(tmp_path / "a", base) == ""
    key = "encoder.layer.0.attention.self.query.weight"
    before = load_file(whole / "model.safetensors")[f"bert.{key}"]
    change = theirs.state_dict()[key] - before
    ours = delta[0][key if below == "Model" else f"bert.{key}"] - delta[1][key]
    assert torch.allclose(ours, change, atol=1e-5) and change.abs().max() > 1e-3
    assert ask(merged, ids) is not None


@pytest.mark.parametrize(
    "name",
    [
        lambda key: "_orig_mod." + key,
        lambda key: "module." + key,
        lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda key: key.replace("base_model.model.", "base_model.model.module."),
        lambda key: key.replace(".self_attn.", "._orig_mod.self_attn."),
        lambda key: key.removeprefix("base_model.model."),
        lambda key: key.replace(".weight", ".default.weight"),
    ],
)
def test_names_of_wrappers_are_stripped(models: LocalModels, llama: Path, tmp_path: Path, name: Callable[[str], str]):
    model = trained(llama, tmp_path / "a", target_modules=TARGETS["llama"])
    rename(tmp_path / "a", lambda held: {name(key): one for key, one in held.items()})
    same(loaded(llama, tmp_path / "a").model, model, random_model("llama"))
    models.check(ref(tmp_path / "a"), ref(llama))


def test_an_adapter_in_shards(models: LocalModels, llama: Path, tmp_path: Path):
    model = trained(llama, tmp_path / "a", target_modules=TARGETS["llama"])
    held = load_file(tmp_path / "a" / FILE)
    (tmp_path / "a" / FILE).unlink()
    half, placed = sorted(held)[::2], {}
    for i in (1, 2):
        file = f"adapter_model-0000{i}-of-00002.safetensors"
        part = {key: one for key, one in held.items() if (key in half) == (i == 1)}
        save_file(part, tmp_path / "a" / file, {"format": "pt"})
        placed |= dict.fromkeys(part, file)
    (tmp_path / "a" / f"{FILE}.index.json").write_text(json.dumps({"weight_map": placed}))
    same(loaded(llama, tmp_path / "a").model, model, random_model("llama"))
    models.check(ref(tmp_path / "a"), ref(llama))


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_opening_refuses_is_refused_by_check(damage: str, models: LocalModels, llama: Path, adapter: Path):
    change, message = DAMAGE[damage]
    change(adapter)
    fails_alike(models, adapter, llama, message)


def test_an_adapter_of_another_width_or_depth(models: LocalModels, adapter: Path, tmp_path: Path):
    shallow = save(random_model("llama", layers=2), tmp_path / "shallow")
    fails_alike(models, adapter, shallow, r"does not fit the base: it holds unknown weights \(model.layers.2")
    other = save(random_model("mistral"), tmp_path / "mistral")
    models.check(ref(adapter), ref(other))  # of the same shape: only its config can tell


def test_pickled_adapters_are_refused(models: LocalModels, llama: Path, adapter: Path):
    (adapter / FILE).rename(adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights only"):
        models.facts(ref(adapter), ref(llama))


def test_a_verdict_is_remembered_by_content(models: LocalModels, llama: Path, adapter: Path, monkeypatch: Any):
    models.check(ref(adapter), ref(llama))
    monkeypatch.setattr("backend.models.runtime.merge_adapter.verdict_on", lambda *_: pytest.fail("asked again"))
    LocalModels(models.cache).check(ref(adapter), ref(llama))
    configure(adapter, lora_alpha=5)
    with pytest.raises(pytest.fail.Exception):
        models.check(ref(adapter), ref(llama))


def test_a_folder_with_one_adapter_inside(models: LocalModels, llama: Path, tmp_path: Path):
    model = trained(llama, tmp_path / "inner", target_modules=TARGETS["llama"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("An adapter.")
    shutil.move(tmp_path / "inner", tmp_path / "out" / "my_adapter")
    outer, inner = ref(tmp_path / "out"), ref(tmp_path / "out" / "my_adapter")
    same(loaded(llama, tmp_path / "out").model, model, random_model("llama"))
    assert models.fingerprint(outer, ref(llama)) == models.fingerprint(inner, ref(llama))
    models.check(outer, ref(llama))
    shutil.copytree(tmp_path / "out" / "my_adapter", tmp_path / "out" / "other")
    with pytest.raises(CheckpointError, match=r"out holds 2 adapters \(my_adapter, other\); name the folder of one"):
        models.facts(outer, ref(llama))


def test_folders_of_steps_are_no_adapters_of_their_own_name(models: LocalModels, llama: Path, adapter: Path):
    (adapter.parent / "out").mkdir()
    shutil.move(adapter, adapter.parent / "out" / "checkpoint-10")
    with pytest.raises(CheckpointError):
        models.facts(ref(adapter.parent / "out"), ref(llama))


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_a_head_on_a_causal_base(models: LocalModels, tmp_path: Path, name: str):
    base = based(name, tmp_path / "base")
    stem = {"gpt2": "GPT2", "llama": "Llama", "qwen2": "Qwen2"}[name]
    options = {"target_modules": TARGETS.get(name, ["q_proj"]), "fan_in_fan_out": name == "gpt2"}
    model = trained(base, tmp_path / "a", auto=f"{stem}ForSequenceClassification", num_labels=3, **options)
    found = loaded(base, tmp_path / "a").model
    found.config.pad_token_id = model.config.pad_token_id = None
    same(found, model)
    facts = models.facts(ref(tmp_path / "a"), ref(base))
    assert (facts.architecture, facts.answers, facts.kind) == (f"{stem}ForSequenceClassification", 3, "causal")
    models.check(ref(tmp_path / "a"), ref(base))
    rename(tmp_path / "a", without("score"))
    with pytest.raises(CheckpointError, match=r"neither it nor its base has a head \(score.weight\)"):
        models.facts(ref(tmp_path / "a"), ref(base))
