"""Prompts: the template survives every cut, label words are single tokens, digests name content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from backend.errors import PromptError
from backend.prompts import answer_tokens, fill, label_tokens, leave_out, make_prompts, mended, read_typed
from backend.study import PromptSpec
from tests.fakes import fake_definition, fake_sample, fake_tokenizer

SPEC = PromptSpec(template="Review: {text} Sentiment:", label_words=("negative", "positive"), max_tokens=24)


def bytes_tokenizer(special: bool = False) -> Tokenizer:
    """A byte-level BPE trained on a few words, with a start token in front where `special`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Review: a film Sentiment: negative positive"] * 4, trainer)
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


TOKENIZERS = [fake_tokenizer(), bytes_tokenizer(), bytes_tokenizer(special=True)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("keep", ["start", "end"])
@given(text=st.text(max_size=200))
def test_every_prompt_fits_and_keeps_its_template(tokenizer: Tokenizer, keep: str, text: str) -> None:
    spec = SPEC.model_copy(update={"keep": keep, "max_tokens": 40})
    empty, _, _ = fill(tokenizer, spec, "")
    ids, cut, rest = fill(tokenizer, spec, text)
    assert len(ids) <= 40
    assert ids[-2:] == empty[-2:] and ids[0] == empty[0]
    assert (rest == text) is not cut
    assert text.rstrip().endswith(rest.rstrip()) if keep == "end" else text.startswith(rest)
    assert ids == fill(tokenizer, spec, rest)[0] or not cut


@pytest.mark.parametrize(("keep", "expected"), [("end", "eight nine ten"), ("start", "one two three")])
def test_a_long_text_loses_the_end_that_is_not_kept(keep: str, expected: str) -> None:
    words = "one two three four five six seven eight nine ten"
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate([*words.split(), "?", "R", "S"])}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    spec = SPEC.model_copy(update={"template": "R {text} S", "max_tokens": 5, "keep": keep})
    ids, cut, rest = fill(tokenizer, spec, words)
    assert cut and rest == expected and len(ids) == 5


def test_a_template_that_leaves_no_room_is_said() -> None:
    with pytest.raises(PromptError, match=r"The template alone takes \d+ tokens, more than prompt\.max_tokens = 2"):
        fill(fake_tokenizer(), SPEC.model_copy(update={"max_tokens": 2}), "some text")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_label_token_is_the_first_that_the_word_adds(tokenizer: Tokenizer) -> None:
    found = label_tokens(tokenizer, SPEC)
    for word, token in zip(SPEC.label_words, found, strict=True):
        before = tokenizer.encode("Review:  Sentiment:", add_special_tokens=False).ids
        after = tokenizer.encode(f"Review:  Sentiment: {word}", add_special_tokens=False).ids
        assert after[: len(before)] == before and after[len(before)] == token


def test_words_that_share_their_token_are_refused() -> None:
    spec = SPEC.model_copy(update={"label_words": ("xylo", "xyz")})
    with pytest.raises(PromptError, match='"xylo" and "xyz" start with the same token'):
        label_tokens(bytes_tokenizer(), spec)


def test_digests_name_what_the_models_see(tmp_path: Path) -> None:
    study, sample = fake_definition(tmp_path), fake_sample()
    prompts = make_prompts(study, fake_tokenizer(), sample.text, sample.label)
    again = make_prompts(study, fake_tokenizer(), sample.text, sample.label)
    other = make_prompts(study, fake_tokenizer(), sample.text, 1 - sample.label)
    assert prompts.digest == again.digest != other.digest
    assert prompts.readout == "last" and prompts.classes == 2
    assert np.array_equal(prompts.lengths, [len(ids) for ids in prompts.token_ids])
    assert prompts.truncated.sum() == 4, "every fifteenth fake text is long"
    assert prompts.lengths.max() <= study.prompt.max_tokens


def test_settings_that_a_tokenizer_file_carries_do_not_count(tmp_path: Path) -> None:
    study, sample = fake_definition(tmp_path), fake_sample()
    tokenizer = fake_tokenizer()
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=64)
    found = make_prompts(study, tokenizer, sample.text, sample.label)
    assert found.digest == make_prompts(study, fake_tokenizer(), sample.text, sample.label).digest


@pytest.mark.parametrize("keep", ["start", "end"])
def test_a_typed_text_is_cut_like_those_of_the_sample(tmp_path: Path, keep: str) -> None:
    definition = fake_definition(tmp_path)
    study = definition.model_copy(update={"prompt": definition.prompt.model_copy(update={"keep": keep})})
    sample, tokenizer = fake_sample(), fake_tokenizer()
    prompts = make_prompts(study, tokenizer, sample.text, sample.label)
    for i, text in enumerate(sample.text):
        typed = read_typed(tokenizer, study.prompt, study.family, text)
        assert typed.prompts.token_ids == (prompts.token_ids[i],)
        assert bool(typed.prompts.truncated[0]) == bool(prompts.truncated[i]) == bool(typed.cut.strip())
        assert (typed.left + typed.cut if keep == "start" else typed.cut + typed.left) == text
        assert "".join(typed.pieces) == study.prompt.template.replace("{text}", typed.left)


TEXTS = st.text(max_size=60) | st.text(alphabet="a é\u200d\u202e\u05d0\U0001f469\x00<>{text}&\n", max_size=200)


@given(TEXTS, st.booleans())
def test_any_text_can_be_typed(text: str, special: bool) -> None:
    tokenizer = bytes_tokenizer(special)
    typed = read_typed(tokenizer, SPEC, "causal", text)
    (ids,) = typed.prompts.token_ids
    assert len(ids) <= SPEC.max_tokens
    assert len(typed.pieces) == len(ids)
    assert "".join(typed.pieces) == SPEC.template.replace("{text}", "\0").replace("\0", typed.left)
    assert typed.cut + typed.left == text
    prompts, parts = leave_out(tokenizer, SPEC, "causal", typed.left, 4)
    assert len(prompts.token_ids) == len(parts) + 1 <= 5
    assert prompts.token_ids[0] == ids
    assert "".join("".join(parts).split()) == "".join(typed.left.split())


def test_twenty_thousand_words_are_cut() -> None:
    tokenizer = bytes_tokenizer()
    typed = read_typed(tokenizer, SPEC, "causal", "word " * 20_000)
    assert len(typed.prompts.token_ids[0]) <= SPEC.max_tokens
    assert len(typed.cut) > 99_900


def test_half_characters_are_replaced_and_whole_ones_stay() -> None:
    assert mended("a\ud800b 👩‍👧 \udc00") == "a�b 👩‍👧 �"
    assert mended("\ud83d\udc69") == "👩"
    assert read_typed(bytes_tokenizer(), SPEC, "causal", "\ud800").left == "�"


def test_a_token_of_half_a_character_has_no_piece() -> None:
    typed = read_typed(bytes_tokenizer(), SPEC, "causal", "👩")
    assert typed.pieces.count("👩") + typed.pieces.count(" 👩") <= 1
    assert "" in typed.pieces


def test_an_encoders_answers_are_the_rows_of_its_head(tmp_path: Path) -> None:
    study, tokenizer = fake_definition(tmp_path), fake_tokenizer()
    assert answer_tokens(tokenizer, study.prompt, "encoder") == (0, 1)
    assert answer_tokens(tokenizer, study.prompt, "causal") == label_tokens(tokenizer, study.prompt)
    texts, _ = leave_out(tokenizer, study.prompt, "encoder", "The script drags.", 9)
    assert (texts.label_tokens, texts.readout) == ((0, 1), "first")
