"""Texts that somebody typed, as the models see them, whole and without each of their words. No torch."""

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
    """A text that somebody typed, as the models see it: cut and tokenized as those of the sample are.

    `prompts` holds its prompt alone, `left` the part of the text that is left and `cut` the part that is not. `pieces`
    are the stretches of the prompt that its tokens stand for: together they are the prompt. A token of which nothing
    is seen (the second byte of a character, a token that only starts a prompt) has an empty piece.
    """

    prompts: Prompts
    left: str
    cut: str
    pieces: tuple[str, ...]


@functools.lru_cache(maxsize=16)
def read_typed(readers: Readers, text: str) -> Typed:
    """The typed text; kept in the process, the sixteen newest only, because pages ask at every rerun. PromptError."""
    reader = readers.first
    given = typed(reader.spec, mended(text))
    filled = fill(reader, given)
    whole = reader.spec.pieces[0] + filled.left + reader.spec.pieces[-1] + (reader.endings[0] if reader.endings else "")
    pieces, start = [], 0
    for end in filled.ends:
        pieces.append(whole[start:end])
        start = max(start, end)
    texts = zip(in_order(reader.spec, given), filled.parts, strict=True)
    lost = [one[len(kept) :] if reader.spec.keep == "start" else one[: len(one) - len(kept)] for one, kept in texts]
    return Typed(
        readers.prompts([given], np.zeros(1, dtype=np.int64)),
        filled.left,
        "\n".join(filter(None, lost)),
        tuple(pieces),
    )


def mended(text: str) -> str:
    """The text with halves of characters, which no tokenizer takes and no page can show, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@functools.lru_cache(maxsize=16)
def leave_out(readers: Readers, left: str, most: int) -> tuple[Prompts, tuple[str, ...]]:
    """Prompts of the text as it is and then without each of its parts, and the parts.

    A part is a word (what stands between white space) and, where there are more than `most`, so many words in a row
    that at most `most` parts are left.
    """
    words = list(re.finditer(r"\S+", left))
    size = max(1, -(-len(words) // most))
    groups = [(words[i].start(), words[min(i + size, len(words)) - 1].end()) for i in range(0, len(words), size)]
    texts = [left, *((left[:start] + left[end:].lstrip()).rstrip() for start, end in groups)]
    return readers.prompts(texts, np.zeros(len(texts), dtype=np.int64)), tuple(left[start:end] for start, end in groups)
