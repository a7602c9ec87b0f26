"""From texts to what the models see: the template filled, long texts cut, label words as single tokens. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

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


def make_prompts(study: Study, tokenizer: Tokenizer, texts: Sequence[str], labels: np.ndarray) -> Prompts:
    """The prompts of the texts as the study's models see them. Raises PromptError."""
    tokenizer.no_truncation()  # some tokenizer files carry settings of their training
    tokenizer.no_padding()
    causal = study.family == "causal"
    tokens = label_tokens(tokenizer, study.prompt) if causal else tuple(range(study.classes))
    filled = [fill(tokenizer, study.prompt, text) for text in texts]
    readout = "last" if causal else "first"
    token_ids = tuple(ids for ids, _, _ in filled)
    content = json.dumps([token_ids, labels.tolist(), tokens, readout])
    return Prompts(
        digest=hashlib.sha256(content.encode()).hexdigest(),
        token_ids=token_ids,
        labels=labels.astype(np.int64),
        label_tokens=tokens,
        truncated=np.array([cut for _, cut, _ in filled], dtype=bool),
        readout=readout,
    )
