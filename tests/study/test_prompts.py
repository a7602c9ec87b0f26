"""Prompts: the template survives every cut, label words are single tokens, digests name content."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from backend.errors import PromptError
from backend.study.config import PromptSpec
from backend.study.prompts import Readers, first_difference, make_prompts, shown
from backend.study.reader import fill, plain_reader
from backend.study.token_ids import Prompts
from backend.study.typed_texts import leave_out, read_typed, without_surrogates
from tests.fake_texts import fake_sample, fake_tokenizer
from tests.fakes import fake_definition
from tests.study.byte_tokenizer import alone, bytes_tokenizer

SPEC = PromptSpec(template="Review: {text} Sentiment:", label_words=("negative", "positive"), max_tokens=24)


TOKENIZERS = [fake_tokenizer(), bytes_tokenizer(), bytes_tokenizer(special=True)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("keep", ["start", "end"])
@given(text=st.text(max_size=200))
def test_every_prompt_fits_and_keeps_its_template(tokenizer: Tokenizer, keep: str, text: str) -> None:
    spec = SPEC.model_copy(update={"keep": keep, "max_tokens": 40})
    reader = plain_reader(tokenizer, spec, "causal")
    empty, filled = fill(reader, "").ids, fill(reader, text)
    ids, cut, rest = filled.ids, filled.cut, filled.left
    assert len(ids) <= 40
    assert ids[-2:] == empty[-2:] and ids[0] == empty[0]
    assert (rest == text) is not cut
    assert text.rstrip().endswith(rest.rstrip()) if keep == "end" else text.startswith(rest)
    assert ids == fill(reader, rest).ids or not cut
    with patch("backend.study.reader.NEVER_FITS", 1000):
        assert fill(reader, text) == filled


@pytest.mark.parametrize(("keep", "expected"), [("end", "eight nine ten"), ("start", "one two three")])
def test_a_long_text_loses_the_end_that_is_not_kept(keep: str, expected: str) -> None:
    words = "one two three four five six seven eight nine ten"
    tokenizer = Tokenizer(
        models.WordLevel(
            {w: i for i, w in enumerate([*words.split(), "?", "R", "S", *SPEC.label_words])}, unk_token="?"
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    spec = SPEC.model_copy(update={"template": "R {text} S", "max_tokens": 5, "keep": keep})
    filled = fill(plain_reader(tokenizer, spec, "causal"), words)
    assert filled.cut and filled.left == expected and len(filled.ids) == 5


def test_a_template_that_leaves_no_room_is_said() -> None:
    with pytest.raises(PromptError, match=r"The template alone takes \d+ tokens, more than prompt\.max_tokens = 2"):
        fill(plain_reader(fake_tokenizer(), SPEC.model_copy(update={"max_tokens": 2}), "causal"), "some text")


def words_of(tokenizer: Tokenizer, **change: object) -> Prompts:
    """Return the prompts of two texts with a changed specification."""
    spec = SPEC.model_copy(update=change)
    return make_prompts(plain_reader(tokenizer, spec, "causal"), ["A film.", "So good"], np.array([0, 1]))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", ["Review: {text} Sentiment:", "Review: {text} Sentiment: ", "{text}\n"])
def test_prompt_and_words_are_what_the_tokenizer_makes_of_them(tokenizer: Tokenizer, template: str) -> None:
    prompts = words_of(tokenizer, template=template)
    for text, ids in zip(("A film.", "So good"), prompts.token_ids, strict=True):
        for word, tokens in zip(SPEC.label_words, prompts.continuations, strict=True):
            assert tokenizer.encode(f"{template.format(text=text)} {word}").ids == [*ids, *tokens]
    first, second = prompts.continuations
    assert first[0] != second[0]


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        ({"separator": ""}, "negative"),
        ({"separator": "\n"}, "\nnegative"),
        ({"separator": ' "'}, ' "negative'),
        ({"template": 'x {text} "label": "', "separator": ""}, "negative"),
    ],
)
def test_the_answer_begins_where_the_separator_says(change: dict[str, str], ending: str) -> None:
    tokenizer = bytes_tokenizer()
    prompts = words_of(tokenizer, **change)
    prompt = (change.get("template") or SPEC.template).format(text="A film.")
    assert tokenizer.encode(prompt + ending).ids == [*prompts.token_ids[0], *prompts.continuations[0]]


def test_words_that_share_tokens_are_read_after_the_shared_ones() -> None:
    tokenizer = bytes_tokenizer()
    shared = words_of(tokenizer, label_words=("xylo", "xyz"))
    assert shown(tokenizer, shared.token_ids[0]).endswith("␣|x|y")
    assert [shown(tokenizer, tokens) for tokens in shared.continuations] == ["l|o", "z"]
    chinese = words_of(tokenizer, label_words=("好", "奼"), separator="")
    assert [shown(tokenizer, tokens) for tokens in chinese.continuations] == ["<0xBD>", "<0xBC>"]
    assert shown(tokenizer, chinese.token_ids[0]).endswith(":|<0xE5>|<0xA5>")


def test_an_end_of_text_that_the_tokenizer_adds_is_not_where_the_answer_begins() -> None:
    tokenizer = bytes_tokenizer(special=True)
    plain = words_of(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A <s>", special_tokens=[("<s>", 0)])
    assert words_of(tokenizer).token_ids == plain.token_ids
    assert words_of(tokenizer).digest == plain.digest
    rows = make_prompts(plain_reader(tokenizer, SPEC, "encoder"), ["A film."], np.array([0]))
    assert rows.token_ids[0] == (*plain.token_ids[0], 0), "a classification head was trained on it"


@pytest.mark.parametrize(
    ("tokenizer", "change", "message"),
    [
        (bytes_tokenizer(), {"label_words": ("good", "goodness")}, '"good" and "goodness" cannot be told apart'),
        (fake_tokenizer(), {"label_words": ("qwertz", "asdf")}, "cannot be told apart"),
        (fake_tokenizer(), {"label_words": ("positive", "asdf")}, 'does not know the label word "asdf"'),
    ],
)
def test_words_that_cannot_be_told_apart_are_refused(
    tokenizer: Tokenizer, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        words_of(tokenizer, **change)


def test_words_whose_tokens_depend_on_the_text_are_refused() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2, "ab": 3}, [("a", "b")]))
    spec = SPEC.model_copy(update={"template": "{text}", "separator": "", "label_words": ("b", "c")})
    with pytest.raises(PromptError, match="depend on the text before them"):
        make_prompts(plain_reader(tokenizer, spec, "causal"), ["ca", "cc"], np.array([0, 1]))


def test_digests_name_what_the_models_see(tmp_path: Path) -> None:
    study, sample = fake_definition(tmp_path), fake_sample()
    reader, same = (plain_reader(fake_tokenizer(), study.prompt, "causal") for _ in range(2))
    prompts = make_prompts(reader, sample.text, sample.label)
    again = make_prompts(same, sample.text, sample.label)
    other = make_prompts(reader, sample.text, 1 - sample.label)
    assert prompts.digest == again.digest != other.digest
    assert prompts.readout == "last" and prompts.classes == 2
    assert np.array_equal(prompts.lengths, [len(ids) for ids in prompts.token_ids])
    assert prompts.truncated.sum() == 4, "every fifteenth fake text is long"
    assert prompts.lengths.max() <= study.prompt.max_tokens


@pytest.mark.parametrize("keep", ["start", "end"])
def test_a_typed_text_is_cut_like_those_of_the_sample(tmp_path: Path, keep: str) -> None:
    definition = fake_definition(tmp_path)
    study = definition.model_copy(update={"prompt": definition.prompt.model_copy(update={"keep": keep})})
    sample, readers = fake_sample(), alone(fake_tokenizer(), study.prompt)
    prompts = readers.prompts(sample.text, sample.label)
    for i, text in enumerate(sample.text):
        typed = read_typed(readers, text)
        assert typed.prompts.token_ids == (prompts.token_ids[i],)
        assert bool(typed.prompts.truncated[0]) == bool(prompts.truncated[i]) == bool(typed.cut.strip())
        assert (typed.left + typed.cut if keep == "start" else typed.cut + typed.left) == text
        assert "".join(typed.pieces) == study.prompt.template.replace("{text}", typed.left)


TEXTS = st.text(max_size=60) | st.text(alphabet="a é\u200d\u202e\u05d0\U0001f469\x00<>{text}&\n", max_size=200)


@given(TEXTS, st.booleans())
def test_any_text_can_be_typed(text: str, special: bool) -> None:
    readers = alone(bytes_tokenizer(special), SPEC)
    typed = read_typed(readers, text)
    (ids,) = typed.prompts.token_ids
    assert len(ids) <= SPEC.max_tokens
    assert len(typed.pieces) == len(ids)
    assert "".join(typed.pieces) == SPEC.template.replace("{text}", "\0").replace("\0", typed.left)
    assert typed.cut + typed.left == text
    prompts, parts = leave_out(readers, typed.parts, 4)
    assert len(prompts.token_ids) == len(parts) + 1 <= 5
    assert prompts.token_ids[0] == ids
    assert "".join("".join(parts).split()) == "".join(typed.left.split())


def test_twenty_thousand_words_are_cut() -> None:
    typed = read_typed(alone(bytes_tokenizer(), SPEC), "word " * 20_000)
    assert len(typed.prompts.token_ids[0]) <= SPEC.max_tokens
    assert len(typed.cut) > 99_900


def test_half_characters_are_replaced_and_whole_ones_stay() -> None:
    assert without_surrogates("a\ud800b 👩‍👧 \udc00") == "a�b 👩‍👧 �"
    assert without_surrogates("\ud83d\udc69") == "👩"
    assert read_typed(alone(bytes_tokenizer(), SPEC), "\ud800").left == "�"


def test_a_token_of_half_a_character_has_no_piece() -> None:
    typed = read_typed(alone(bytes_tokenizer(), SPEC), "👩")
    assert typed.pieces.count("👩") + typed.pieces.count(" 👩") <= 1
    assert "" in typed.pieces


def test_an_encoders_answers_are_the_rows_of_its_head() -> None:
    readers = alone(fake_tokenizer(), SPEC, "encoder")
    texts, _ = leave_out(readers, ("The script drags.",), 9)
    assert (texts.label_tokens, texts.readout) == ((0, 1), "first")
    words, _ = leave_out(alone(fake_tokenizer(), SPEC), ("The script drags.",), 9)
    assert words.token_ids == texts.token_ids and words.digest != texts.digest


def test_a_checkpoint_that_sees_other_ids_has_prompts_of_its_own() -> None:
    base, same, other = (plain_reader(bytes_tokenizer(special), SPEC, "causal") for special in (False, False, True))
    prompts = Readers({"base": base, "same": same, "other": other}).prompts(["A film."], np.array([0]))
    assert list(prompts.own) == ["other"]
    assert prompts.own["other"].token_ids[0] == (0, *prompts.token_ids[0])
    alike = Readers({"base": base, "same": same}).prompts(["A film."], np.array([0]))
    assert alike.token_ids == prompts.token_ids and alike.digest != prompts.digest
    where = first_difference(prompts.own["other"], prompts, (other.tokenizer, base.tokenizer))
    assert where is not None and "<s>" in where and "at token 0" in where


def test_copies_are_texts_that_differ_in_case_and_space_or_prompts_of_equal_tokens(tmp_path: Path) -> None:
    reader = plain_reader(fake_tokenizer(), fake_definition(tmp_path).prompt, "causal")
    long = "A cast this size is loud. " * 40
    texts = ["The script drags.", "unseen words here", "the  SCRIPT drags.", f"One {long}", f"Two {long}", "Other"]
    prompts = make_prompts(reader, texts, np.arange(6) % 2)
    assert prompts.groups is not None and prompts.groups.tolist() == [0, 1, 0, 3, 3, 5]
    assert prompts.token_ids[0] != prompts.token_ids[2] and prompts.token_ids[3] == prompts.token_ids[4]


def test_a_digest_names_the_copies(tmp_path: Path) -> None:
    """Prompts with equal tokens may come from different texts; the splits differ, and so does the key."""
    reader, labels = plain_reader(fake_tokenizer(), fake_definition(tmp_path).prompt, "causal"), np.arange(4) % 2
    plain = make_prompts(reader, ["The script", "Ab", "Cd", "Her second feature"], labels)
    copies = make_prompts(reader, ["The script", "Ab", "Ab", "Her second feature"], labels)
    assert plain.token_ids == copies.token_ids and plain.groups is not None
    spaced = make_prompts(reader, ["The script", "the Script", "Cd", "Her second feature"], labels)
    bare = make_prompts(reader, ["The script", "Ab", "Her second feature", "A cast this size"], labels)
    assert bare.groups is None and len({plain.digest, spaced.digest, bare.digest}) == 3
