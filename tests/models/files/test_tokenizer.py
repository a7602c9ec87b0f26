"""The tokenizer as the checkpoint's files have it, against transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models.files.locate import locate
from backend.models.files.tokenizer import has_tokenizer, read_tokenizer
from backend.models.local import LocalModels
from tests.fake_texts import fake_tokenizer
from tests.models.random_adapters import trained
from tests.models.random_models import ref

TEXT = "Review: The script drags. Sentiment:"


def test_equals_transformers(gpt2: Path, cache: Cache):
    ours = read_tokenizer(locate(ref(gpt2)), cache)
    assert ours.encode(TEXT).ids == AutoTokenizer.from_pretrained(gpt2)(TEXT)["input_ids"]


def test_special_tokens_written_in_a_text_are_split_where_the_config_says_so(gpt2: Path, cache: Cache):
    """The setting stands in tokenizer_config.json alone."""
    text = "The script drags. Sentiment: script"
    for splits in (False, True):
        made = AutoTokenizer.from_pretrained(gpt2, split_special_tokens=splits)
        made.add_special_tokens({"pad_token": "Sentiment"})
        made.save_pretrained(gpt2)
        found = read_tokenizer(locate(ref(gpt2)), cache)
        assert found.encode_special_tokens == splits
        assert found.encode(text).ids == AutoTokenizer.from_pretrained(gpt2)(text)["input_ids"]


def test_padding_and_truncation_left_by_training_are_dropped(gpt2: Path, cache: Cache):
    tokenizer = fake_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=200)
    tokenizer.save(str(gpt2 / "tokenizer.json"))
    assert read_tokenizer(locate(ref(gpt2)), cache).encode(TEXT).ids == fake_tokenizer().encode(TEXT).ids


def test_an_older_format_is_converted_once(gpt2: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(
        models.BPE({token: i for i, token in enumerate([*alphabet, "Th", "The"])}, [("T", "h"), ("Th", "e")])
    )
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (gpt2 / name).unlink()
    bpe.model.save(str(gpt2))
    (gpt2 / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert has_tokenizer(locate(ref(gpt2)))
    assert read_tokenizer(locate(ref(gpt2)), cache).encode(TEXT).ids == bpe.encode(TEXT).ids

    def again(*_args: object, **_options: object) -> PreTrainedTokenizerFast:
        raise RuntimeError("converted again")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", again)
    assert read_tokenizer(locate(ref(gpt2)), cache).encode(TEXT).ids == bpe.encode(TEXT).ids


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": null}'])
def test_a_damaged_tokenizer_is_an_error(gpt2: Path, cache: Cache, text: str):
    (gpt2 / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"cannot be read .*; save it again"):
        read_tokenizer(locate(ref(gpt2)), cache)


def test_no_tokenizer_is_an_error(gpt2: Path, cache: Cache):
    (gpt2 / "tokenizer.json").unlink()
    assert not has_tokenizer(locate(ref(gpt2)))
    with pytest.raises(CheckpointError, match="has no tokenizer; save one there"):
        read_tokenizer(locate(ref(gpt2)), cache)


def test_the_tokenizer_around_an_adapter_of_its_own_name(gpt2: Path, tmp_path: Path, models: LocalModels):
    outer, inner, base = tmp_path / "checkpoint-10", tmp_path / "checkpoint-10" / "mine", ref(gpt2)
    trained(gpt2, inner, target_modules=["c_attn"], fan_in_fan_out=True)
    before = [models.fingerprint(ref(place), base) for place in (outer, inner)]
    assert models.tokenizer(ref(outer), base) is models.tokenizer(base, base)
    starting = fake_tokenizer()
    starting.post_processor = TemplateProcessing(single="<unk> $A", special_tokens=[("<unk>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=starting).save_pretrained(outer)
    plain = AutoTokenizer.from_pretrained(outer, config=AutoConfig.from_pretrained(gpt2))(TEXT)["input_ids"]
    for place, earlier in zip((outer, inner), before, strict=True):
        assert models.tokenizer(ref(place), base).encode(TEXT).ids == plain == [0, *fake_tokenizer().encode(TEXT).ids]
        assert models.fingerprint(ref(place), base) != earlier
    PreTrainedTokenizerFast(tokenizer_object=fake_tokenizer()).save_pretrained(inner)
    assert models.tokenizer(ref(outer), base).encode(TEXT).ids == plain[1:], "its own goes before"
    shutil.copytree(inner, outer / "other")
    (outer / "other" / "tokenizer.json").unlink()
    assert models.tokenizer(ref(outer / "other"), base).encode(TEXT).ids == plain, "beside another adapter"


def test_a_model_around_an_adapter_keeps_its_tokenizer(gpt2: Path, models: LocalModels):
    trained(gpt2, gpt2 / "mine", target_modules=["c_attn"], fan_in_fan_out=True)
    assert locate(ref(gpt2 / "mine")).outer is None
