"""Tokenize a typed text, whole and without each of its words. No torch."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from backend.study.pairs import Input, given, joined, typed
from backend.study.prompts import Readers
from backend.study.reader import contents, fill
from backend.study.token_ids import Prompts


@dataclass(frozen=True, eq=False)
class Typed:
    """A typed text as the models see it, truncated and tokenized like the sample.

    `prompts` holds its prompt alone, `left` the part of the text that is left and `cut` the part that is not. `pieces`
    are the stretches of the prompt that its tokens stand for: together they are the prompt. A token of which nothing
    is seen (the second byte of a character, a token that only starts a prompt) has an empty piece. `parts` are the
    texts that are left, in the template's order.
    """

    prompts: Prompts
    left: str
    cut: str
    pieces: tuple[str, ...]
    parts: tuple[str, ...]


@functools.lru_cache(maxsize=16)
def read_typed(readers: Readers, text: str) -> Typed:
    """Return the tokenized text. The last 16 are kept, because pages call this at every rerun. PromptError."""
    reader = readers.first
    texts = typed(reader.spec, without_surrogates(text))
    filled = fill(reader, texts)
    whole = reader.spec.pieces[0] + filled.left + reader.spec.pieces[-1] + (reader.endings[0] if reader.endings else "")
    pieces, start = [], 0
    for end in filled.ends:
        pieces.append(whole[start:end])
        start = max(start, end)
    pairs = zip(contents(reader, texts), filled.parts, strict=True)
    removed = [
        full[len(kept) :] if reader.spec.keep == "start" else full[: len(full) - len(kept)] for full, kept in pairs
    ]
    return Typed(
        readers.prompts([texts], np.zeros(1, dtype=np.int64)),
        filled.left,
        "\n".join(filter(None, removed)),
        tuple(pieces),
        filled.parts,
    )


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which tokenizers and pages cannot handle, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@functools.lru_cache(maxsize=16)
def leave_out(readers: Readers, left: tuple[str, ...], most: int) -> tuple[Prompts, tuple[str, ...]]:
    """Prompts of the text as it is and then without each of its parts, and the parts.

    `left` is the text, or the texts of a pair in the template's order, with the template's words between them.
    A part is a word (what stands between white space) and, where there are more than `most`, so many words in a row
    that at most `most` parts are left.
    """
    spec = readers.first.spec
    whole = joined(spec, left)
    words = list(re.finditer(r"\S+", whole))
    size = max(1, -(-len(words) // most))
    groups = [(words[i].start(), words[min(i + size, len(words)) - 1].end()) for i in range(0, len(words), size)]
    if readers.first.pairs(left):
        second = len(whole) - len(left[1])
        spans = ((start, end, start - second, end - second) for start, end in groups)
        fewer = ((_without(left[0], start, end), _without(left[1], *other)) for start, end, *other in spans)
        texts: list[Input] = [given(spec, one) for one in (left, *fewer)]
    else:
        texts = [whole, *(_without(whole, start, end) for start, end in groups)]
    labels = np.zeros(len(texts), dtype=np.int64)
    return readers.prompts(texts, labels), tuple(whole[start:end] for start, end in groups)


def _without(text: str, start: int, end: int) -> str:
    """The text without the characters from `start` to `end` that are in it, and without the white space after them."""
    start, end = max(0, start), max(0, end)
    return text if start >= min(end, len(text)) else (text[:start] + text[end:].lstrip()).rstrip()
