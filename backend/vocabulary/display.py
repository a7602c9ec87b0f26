"""Tokens as people read them, and words as tokens: byte-level BPE, SentencePiece, WordPiece. No torch."""

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
    """`name` of the ids 0..count-1."""
    return name(tokenizer, range(count))


def name(tokenizer: Tokenizer, ids: Iterable[int]) -> tuple[str, ...]:
    """How tokens read: `␣film`, `ing`, `↵`, `<0xE2>`, `##ing`.

    A space is ␣, a line break ↵, a tab ⇥; other control characters are their pictures (␀) and other signs that nobody
    sees their code points (<U+200B>); a byte that is no character by itself is <0xE2>. What WordPiece and special
    tokens are called stays. An id without a token, as padded embeddings have them, is `(no token 50260)`.
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
    """Text in which spaces, control characters and other invisible signs can be seen; an empty one is `(empty)`."""
    return "".join(map(_sign, text)) or "(empty)"


def _sign(sign: str) -> str:
    if sign == " ":
        return SPACE
    return _CONTROLS.get(sign) or (sign if sign.isprintable() else f"<U+{ord(sign):04X}>")


def _read_bytes(raw: bytes) -> str:
    """Bytes as UTF-8, those that are none by their number."""
    text = raw.decode("utf-8", "surrogateescape")  # byte 0xE2 that is no character comes as U+DCE2
    return "".join(f"<0x{ord(s) - 0xDC00:02X}>" if "\udc80" <= s <= "\udcff" else _sign(s) for s in text) or "(empty)"


def _byte_signs() -> dict[str, int]:
    """The sign that byte-level BPE writes for each byte: itself if it can be seen, else the next from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + i): byte for i, byte in enumerate(rest)}


_BYTES = _byte_signs()


def _roles(tokenizer: Tokenizer) -> frozenset[str]:
    """The kinds of step by which the tokenizer turns tokens back into text."""
    if tokenizer.decoder is None:
        return frozenset()
    state = json.loads(tokenizer.decoder.__getstate__())
    return frozenset({state["type"], *(step["type"] for step in state.get("decoders", ()))})


def pieces(tokenizer: Tokenizer, ids: Iterable[int]) -> tuple[str, ...]:
    """Tokens as stretches of a text: in a row they read like it, each with the space before it where there is one."""
    kinds = _roles(tokenizer)
    named = name(tokenizer, ids)
    if "WordPiece" in kinds:
        return tuple(one.removeprefix("##") if one.startswith("##") else f" {one}" for one in named)
    return tuple(one.replace(SPACE, " ") for one in named)


def of_words(tokenizer: Tokenizer, words: Iterable[str]) -> dict[str, int]:
    """The token of each word that is one token behind a space; words that are more, or unknown, are left out."""
    listed = list(dict.fromkeys(words))
    start = tokenizer.encode(_ANCHOR, add_special_tokens=False).ids
    found: dict[str, int] = {}
    behind = tokenizer.encode_batch([f"{_ANCHOR} {word}" for word in listed], add_special_tokens=False)
    for word, encoded in zip(listed, behind, strict=True):
        *before, token = encoded.ids or [-1]
        if before == start and tokenizer.decode([token]).strip().lower() == word.lower():
            found[word] = token
    return found
