"""Tokenize a typed text, whole and without each of its words. No torch."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from backend.study.pairs import in_order, typed
from backend.study.prompts import Readers, fill
from backend.study.token_ids import Prompts


@dataclass(frozen=True, eq=False)
class Typed:
    """A typed text as the models see it, truncated and tokenized like the sample.

    `prompts` holds its prompt alone, `left` the text that remains after truncation, `cut` the text that was removed.
    `pieces` are the characters of each token; joined, they are the prompt. A token without characters of its own (the
    second byte of a character, a token that only starts a prompt) has an empty piece.
    """

    prompts: Prompts
    left: str
    cut: str
    pieces: tuple[str, ...]


@functools.lru_cache(maxsize=16)
def read_typed(readers: Readers, text: str) -> Typed:
    """Return the tokenized text. The last 16 are kept, because pages call this at every rerun. PromptError."""
    reader = readers.first
    content = typed(reader.spec, without_surrogates(text))
    filled = fill(reader, content)
    whole = reader.spec.pieces[0] + filled.left + reader.spec.pieces[-1] + (reader.endings[0] if reader.endings else "")
    pieces, start = [], 0
    for end in filled.ends:
        pieces.append(whole[start:end])
        start = max(start, end)
    texts = zip(in_order(reader.spec, content), filled.parts, strict=True)
    removed = [
        full[len(kept) :] if reader.spec.keep == "start" else full[: len(full) - len(kept)] for full, kept in texts
    ]
    return Typed(
        readers.prompts([content], np.zeros(1, dtype=np.int64)),
        filled.left,
        "\n".join(filter(None, removed)),
        tuple(pieces),
    )


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which tokenizers and pages cannot handle, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@functools.lru_cache(maxsize=16)
def leave_out(readers: Readers, left: str, most: int) -> tuple[Prompts, tuple[str, ...]]:
    """Return prompts of the whole text and then of the text without each of its parts, and the parts.

    A part is a word between white space. A text of more than `most` words is split into at most `most` parts of several
    words.
    """
    words = list(re.finditer(r"\S+", left))
    size = max(1, -(-len(words) // most))
    groups = [(words[i].start(), words[min(i + size, len(words)) - 1].end()) for i in range(0, len(words), size)]
    texts = [left, *((left[:start] + left[end:].lstrip()).rstrip() for start, end in groups)]
    return readers.prompts(texts, np.zeros(len(texts), dtype=np.int64)), tuple(left[start:end] for start, end in groups)
