"""Display tokens readably, and find the tokens of words: byte-level BPE, SentencePiece, WordPiece. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer

SPACE = "␣"
_CONTROLS = {
    "\t": "⇥",
    "\n": "↵",
    "\x7f": "␡",
    **{chr(code): chr(0x2400 + code) for code in (*range(9), *range(11, 32))},
}
_ANCHOR = "It was"


def names(tokenizer: Tokenizer, count: int) -> tuple[str, ...]:
    """Return `name` of the ids 0..count-1."""
    return name(tokenizer, range(count))


def name(tokenizer: Tokenizer, ids: Iterable[int]) -> tuple[str, ...]:
    """Return readable names of tokens: `␣film`, `ing`, `↵`, `<0xE2>`, `##ing`.

    A space is ␣, a line break ↵, a tab ⇥; other control characters are their symbols (␀), and other invisible
    characters are their code points (<U+200B>). An incomplete UTF-8 byte is <0xE2>. WordPiece and special tokens are
    unchanged. An id without a token, as in padded embeddings, is `(no token 50260)`.
    """
    kinds = _roles(tokenizer)
    added = {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}
    return tuple(_name(tokenizer.id_to_token(i), i in added, kinds, i) for i in ids)


def _name(token: str | None, added: bool, kinds: frozenset[str], number: int) -> str:
    if token is None:
        return f"(no token {number})"
    if added:
        return visible(token)
    if "ByteLevel" in kinds and all(sign in _BYTES for sign in token):
        return _read_bytes(bytes(_BYTES[sign] for sign in token))
    if kinds & {"Metaspace", "ByteFallback"}:
        return visible(token.replace("▁", " "))
    return visible(token)


def visible(text: str) -> str:
    """Make spaces, control characters and other invisible characters visible; empty text becomes `(empty)`."""
    return "".join(map(_sign, text)) or "(empty)"


def _sign(sign: str) -> str:
    if sign == " ":
        return SPACE
    return _CONTROLS.get(sign) or (sign if sign.isprintable() else f"<U+{ord(sign):04X}>")


def _read_bytes(raw: bytes) -> str:
    """Decode bytes as UTF-8; invalid bytes are shown by their number."""
    text = raw.decode("utf-8", "surrogateescape")  # an invalid byte 0xE2 becomes U+DCE2
    return "".join(f"<0x{ord(s) - 0xDC00:02X}>" if "\udc80" <= s <= "\udcff" else _sign(s) for s in text) or "(empty)"


def _byte_signs() -> dict[str, int]:
    """Return the byte of each byte-level BPE character: itself if printable, else the next from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + i): byte for i, byte in enumerate(rest)}


_BYTES = _byte_signs()


def _roles(tokenizer: Tokenizer) -> frozenset[str]:
    """Return the types of the decoder steps of the tokenizer."""
    if tokenizer.decoder is None:
        return frozenset()
    state = json.loads(tokenizer.decoder.__getstate__())
    return frozenset({state["type"], *(step["type"] for step in state.get("decoders", ()))})


def pieces(tokenizer: Tokenizer, ids: Iterable[int]) -> tuple[str, ...]:
    """Return tokens as parts of a text, each with its leading space; joined, they read like the text."""
    kinds = _roles(tokenizer)
    tokens = name(tokenizer, ids)
    if "WordPiece" in kinds:
        return tuple(token.removeprefix("##") if token.startswith("##") else f" {token}" for token in tokens)
    return tuple(token.replace(SPACE, " ") for token in tokens)


def of_words(tokenizer: Tokenizer, words: Iterable[str]) -> dict[str, int]:
    """Map each word to its token if it is a single token after a space; other words are left out."""
    unique = list(dict.fromkeys(words))
    start = tokenizer.encode(_ANCHOR, add_special_tokens=False).ids
    token_of: dict[str, int] = {}
    encodings = tokenizer.encode_batch([f"{_ANCHOR} {word}" for word in unique], add_special_tokens=False)
    for word, encoded in zip(unique, encodings, strict=True):
        *before, token = encoded.ids or [-1]
        if before == start and tokenizer.decode([token]).strip().lower() == word.lower():
            token_of[word] = token
    return token_of
