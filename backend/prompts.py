"""From texts to what the models see: the template filled, long texts cut, label words as single tokens. No torch."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from backend.errors import PromptError
from backend.lab import Prompts
from backend.study import PromptSpec, Study


def fill(tokenizer: Tokenizer, spec: PromptSpec, text: str) -> tuple[tuple[int, ...], bool, str]:
    """Token ids of one prompt, whether the text was cut, and the part of the text that is left.

    A long text loses whole tokens at the end that `keep` does not name, by character offsets; then the whole prompt is
    tokenized once, and the text cut further until the prompt fits `max_tokens` (special tokens count).
    """
    ids = _encode(tokenizer, spec, text)
    if len(ids) <= spec.max_tokens:
        return ids, False, text
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    room = spec.max_tokens - len(_encode(tokenizer, spec, ""))
    for left in range(min(room, len(offsets)), -1, -1):
        rest = _cut(text, offsets, left, spec.keep)
        ids = _encode(tokenizer, spec, rest)
        if len(ids) <= spec.max_tokens:
            return ids, True, rest
    raise PromptError(
        f"The template alone takes {len(ids)} tokens, more than prompt.max_tokens = {spec.max_tokens}; "
        f"raise max_tokens or shorten the template."
    )


def _encode(tokenizer: Tokenizer, spec: PromptSpec, text: str) -> tuple[int, ...]:
    before, after = spec.template.split("{text}")
    return tuple(tokenizer.encode(before + text + after).ids)


def _cut(text: str, offsets: Sequence[tuple[int, int]], left: int, keep: str) -> str:
    """`left` tokens of the text, from its start or its end, without the white space at the cut."""
    if left <= 0:
        return ""
    return text[: offsets[left - 1][1]].rstrip() if keep == "start" else text[offsets[-left][0] :].lstrip()


def label_tokens(tokenizer: Tokenizer, spec: PromptSpec) -> tuple[int, ...]:
    """The token of each label word: the first id by which the prompt with the word differs from the prompt alone.

    Raises PromptError when two words share their token, or a word adds none.
    """
    prompt = spec.template.replace("{text}", "")
    before = tokenizer.encode(prompt, add_special_tokens=False).ids
    found: list[int] = []
    for word in spec.label_words:
        after = tokenizer.encode(f"{prompt} {word}", add_special_tokens=False).ids
        new = next((b for a, b in zip([*before, None], after, strict=False) if a != b), None)
        if new is None:
            raise PromptError(f'The label word "{word}" adds no token to the prompt; choose another word.')
        if new in found:
            other = spec.label_words[found.index(new)]
            raise PromptError(
                f'The label words "{other}" and "{word}" start with the same token '
                f"({tokenizer.id_to_token(new)!r}) and cannot be told apart; choose other words."
            )
        found.append(new)
    return tuple(found)


def answer_tokens(tokenizer: Tokenizer, spec: PromptSpec, family: str) -> tuple[int, ...]:
    """What stands for each class in the logits: a causal model's label tokens, the rows of an encoder's head."""
    return label_tokens(tokenizer, spec) if family == "causal" else tuple(range(len(spec.label_words)))


def make_prompts(study: Study, tokenizer: Tokenizer, texts: Sequence[str], labels: np.ndarray) -> Prompts:
    """The prompts of the texts as the study's models see them. Raises PromptError."""
    tokenizer.no_truncation()  # some tokenizer files carry settings of their training
    tokenizer.no_padding()
    filled = [fill(tokenizer, study.prompt, text) for text in texts]
    cut = np.array([cut for _, cut, _ in filled], dtype=bool)
    tokens = answer_tokens(tokenizer, study.prompt, study.family)
    return _pinned([ids for ids, _, _ in filled], labels, tokens, cut, study.family)


def bare_prompts(tokenizer: Tokenizer, texts: Sequence[str], label_tokens: tuple[int, ...], max_tokens: int) -> Prompts:
    """The texts alone, without a template, as causal models see them; all of class 0. Raises PromptError."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    spec = PromptSpec.model_construct(template="{text}", max_tokens=max_tokens, keep="end")
    filled = [fill(tokenizer, spec, text) for text in texts]
    cut = np.array([cut for _, cut, _ in filled], dtype=bool)
    labels = np.zeros(len(filled), dtype=np.int64)
    return _pinned([ids for ids, _, _ in filled], labels, label_tokens, cut, "causal")


def _pinned(
    filled: Sequence[tuple[int, ...]], labels: np.ndarray, tokens: tuple[int, ...], cut: np.ndarray, family: str
) -> Prompts:
    """Prompts with the digest of their content."""
    readout = "last" if family == "causal" else "first"
    token_ids = tuple(filled)
    content = json.dumps([token_ids, labels.tolist(), tokens, readout])
    return Prompts(
        digest=hashlib.sha256(content.encode()).hexdigest(),
        token_ids=token_ids,
        labels=labels.astype(np.int64),
        label_tokens=tokens,
        truncated=cut,
        readout=readout,
    )


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
def read_typed(tokenizer: Tokenizer, spec: PromptSpec, family: str, text: str) -> Typed:
    """The typed text; kept in the process, the sixteen newest only, because pages ask at every rerun. PromptError."""
    text = mended(text)
    ids, cut, left = fill(tokenizer, spec, text)
    tokens = answer_tokens(tokenizer, spec, family)
    before, after = spec.template.split("{text}")
    whole = before + left + after
    ends = [end for _, end in tokenizer.encode(whole).offsets]
    pieces, start = [], 0
    for end in ends:
        pieces.append(whole[start:end])
        start = max(start, end)
    return Typed(
        _pinned([ids], np.zeros(1, dtype=np.int64), tokens, np.array([cut]), family),
        left,
        text[len(left) :] if spec.keep == "start" else text[: len(text) - len(left)],
        tuple(pieces),
    )


def mended(text: str) -> str:
    """The text with halves of characters, which no tokenizer takes and no page can show, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@functools.lru_cache(maxsize=16)
def leave_out(
    tokenizer: Tokenizer, spec: PromptSpec, family: str, left: str, most: int
) -> tuple[Prompts, tuple[str, ...]]:
    """Prompts of the text as it is and then without each of its parts, and the parts.

    A part is a word (what stands between white space) and, where there are more than `most`, so many words in a row
    that at most `most` parts are left.
    """
    words = list(re.finditer(r"\S+", left))
    size = max(1, -(-len(words) // most))
    groups = [(words[i].start(), words[min(i + size, len(words)) - 1].end()) for i in range(0, len(words), size)]
    texts = [left, *((left[:start] + left[end:].lstrip()).rstrip() for start, end in groups)]
    filled = [fill(tokenizer, spec, text) for text in texts]
    cut = np.array([cut for _, cut, _ in filled], dtype=bool)
    prompts = _pinned(
        [ids for ids, _, _ in filled],
        np.zeros(len(texts), dtype=np.int64),
        answer_tokens(tokenizer, spec, family),
        cut,
        family,
    )
    return prompts, tuple(left[start:end] for start, end in groups)
