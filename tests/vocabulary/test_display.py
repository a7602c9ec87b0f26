"""Readable tokens of byte-level BPE, SentencePiece, WordPiece and plain words; single-token words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from backend.vocabulary import display
from tests.fake_texts import fake_tokenizer


def byte_level() -> Tokenizer:
    """Every byte, ` film` as one merged token, and an end of text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["Ġf", "Ġfi", "Ġfil", "Ġfilm", "âĤ", "ĊĊ"]
    merges = [("Ġ", "f"), ("Ġf", "i"), ("Ġfi", "l"), ("Ġfil", "m"), ("â", "Ĥ"), ("Ċ", "Ċ")]
    vocabulary = {token: i for i, token in enumerate([*alphabet, *pieces])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True), AddedToken("<｜end of｜>", special=True)])
    return tokenizer


def sentencepiece() -> Tokenizer:
    """As Llama's: ▁ for a space, and bytes for what has no piece."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁film", "▁It", "▁was", "s", "▁▁"]
    scores = [0.0] * 257 + [-5.0, -1.0, -1.0, -1.0, -2.0, -3.0]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def wordpiece() -> Tokenizer:
    """As BERT's, without capitals."""
    pieces = ["[UNK]", "[CLS]", "film", "##s", "it", "was"]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def read(tokenizer: Tokenizer, token: str) -> str:
    number = tokenizer.token_to_id(token)
    assert number is not None
    return display.names(tokenizer, tokenizer.get_vocab_size())[number]


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("Ġfilm", "␣film"),
        ("m", "m"),
        ("Ġ", "␣"),
        ("Ċ", "↵"),
        ("ĊĊ", "↵↵"),
        ("ĉ", "⇥"),
        ("Ā", "␀"),
        ("ġ", "␡"),
        ("âĤ", "<0xE2><0x82>"),
        ("é", "<0xE9>"),
        ("<|endoftext|>", "<|endoftext|>"),
        ("<｜end of｜>", "<｜end␣of｜>"),
    ],
)
def test_byte_level_tokens_are_their_text_and_lone_bytes_their_numbers(token: str, name: str):
    assert read(byte_level(), token) == name


def test_a_character_of_several_bytes_reads_as_itself():
    signs = {byte: sign for sign, byte in display._BYTES.items()}
    token = "".join(signs[byte] for byte in "é€ \u200b".encode())
    tokenizer = Tokenizer(models.WordLevel({token: 0}))
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    assert display.names(tokenizer, 1) == ("é€␣<U+200B>",)


def test_the_signs_of_bytes_are_those_of_the_tokenizers_library():
    assert set(display._BYTES) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(display._BYTES.values()) == list(range(256))
    decoder = decoders.ByteLevel()
    for sign, byte in display._BYTES.items():
        if byte < 128:
            assert decoder.decode([sign]) == chr(byte)


@pytest.mark.parametrize(("token", "name"), [("▁film", "␣film"), ("s", "s"), ("▁▁", "␣␣"), ("<0x0A>", "<0x0A>")])
def test_sentencepiece_tokens(token: str, name: str):
    assert read(sentencepiece(), token) == name


@pytest.mark.parametrize("token", ["film", "##s", "[CLS]"])
def test_wordpiece_tokens_are_what_they_are_called(token: str):
    assert read(wordpiece(), token) == token


def test_plain_tokens_and_rows_without_a_token():
    tokenizer = fake_tokenizer()
    size = tokenizer.get_vocab_size()
    names = display.names(tokenizer, size + 2)
    assert names[tokenizer.get_vocab()[" script"]] == "␣script"
    assert names[size:] == (f"(no token {size})", f"(no token {size + 1})")


@given(st.text(max_size=20))
def test_everything_can_be_seen(text: str):
    seen = display.visible(text)
    assert seen
    assert seen.isprintable()
    assert " " not in seen


@pytest.mark.parametrize("make", [byte_level, sentencepiece, wordpiece])
def test_words_of_one_token_are_found_behind_a_space(make):
    tokenizer = make()
    tokens = display.of_words(tokenizer, ["film", "films", "nothing", "film"])
    expected = next(token for token in ("Ġfilm", "▁film", "film") if tokenizer.token_to_id(token) is not None)
    assert tokens == {"film": tokenizer.token_to_id(expected)}


def test_an_unknown_word_is_no_token():
    tokens = display.of_words(fake_tokenizer(), ["script", "zyzzyva", "unk"])
    assert tokens == {"script": fake_tokenizer().token_to_id(" script")}


def test_no_words_are_no_tokens():
    assert display.of_words(fake_tokenizer(), []) == {}


def test_pieces_in_a_row_read_like_the_text():
    for tokenizer, text in ((byte_level(), " film"), (wordpiece(), "it was films")):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert "".join(display.pieces(tokenizer, ids)).strip() == text.strip()
    fake = fake_tokenizer()
    ids = fake.encode("The script is funny.").ids
    assert "".join(display.pieces(fake, ids)) == "The script is funny."
