"""Pairs of texts: fill a template with several texts of a row, and cut the longer one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from backend.errors import PromptError
from backend.study.config import PromptSpec
from backend.study.template import order

Input = str | tuple[str, ...]
"""The input of a template: a text, or the texts of a pair in the order of dataset.text."""


def shown(parts: Sequence[str]) -> str:
    """Return a pair as one text, one line for each part."""
    return "\n".join(" ".join(part.splitlines()) for part in parts)


def typed(spec: PromptSpec, text: str) -> Input:
    """Split typed text into the input of a template, one line for each text of a pair. Raises PromptError."""
    if len(spec.fields) == 1:
        return text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != len(spec.fields):
        raise PromptError(
            f"This study reads {len(spec.fields)} texts together ({', '.join(spec.fields)}); write each on its own "
            f"line, in this order."
        )
    return tuple(lines)


def in_order(spec: PromptSpec, given: Input) -> tuple[str, ...]:
    """Return the texts in the order of the template."""
    return (given,) if isinstance(given, str) else tuple(given[i] for i in order(spec.template, spec.fields))


def given(spec: PromptSpec, parts: Sequence[str]) -> Input:
    """Texts in the template's order as what fills it; the inverse of `in_order`."""
    if len(parts) == 1:
        return parts[0]
    placed = dict(zip(order(spec.template, spec.fields), parts, strict=True))
    return tuple(placed[i] for i in range(len(parts)))


def alone(spec: PromptSpec) -> bool:
    """Whether the template holds two texts and white space only, which an encoder's tokenizer then reads as a pair."""
    return len(spec.fields) == 2 and not "".join(spec.pieces).strip()


def joined(spec: PromptSpec, parts: Sequence[str]) -> str:
    """Join the texts, in template order, with the parts of the template between them."""
    between = spec.pieces[1:-1] if len(parts) > 1 else ()
    return parts[0] + "".join(words + part for words, part in zip(between, parts[1:], strict=True))


def token_spans(tokenizer: Tokenizer, parts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Return where the tokens of each text start and end, in characters."""
    return [tokenizer.encode(part, add_special_tokens=False).offsets for part in parts]


def shorter(
    parts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], room: int, keep: str
) -> Iterator[tuple[str, ...]]:
    """Yield shorter and shorter texts: first with at most `room` tokens in total, then one token fewer each time.

    Tokens, at `spans` of each text, are removed from the longest text (the last of equal ones), at the end opposite to
    `keep`. An uncut text of a pair keeps its white space.
    """
    left = [len(tokens) for tokens in spans]
    if len(left) == 1:
        left = [min(left[0], max(room, 0))]
    while sum(left) > max(room, 0):
        left[_longest(left)] -= 1
    while True:
        yield tuple(
            part if len(parts) > 1 and n == len(tokens) else _cut(part, tokens, n, keep)
            for part, tokens, n in zip(parts, spans, left, strict=True)
        )
        if not any(left):
            return
        left[_longest(left)] -= 1


def _longest(left: Sequence[int]) -> int:
    return max(range(len(left)), key=lambda i: (left[i], i))


def _cut(text: str, offsets: Sequence[tuple[int, int]], left: int, keep: str) -> str:
    """Return `left` tokens from the start or the end of the text, without white space at the cut."""
    if left <= 0:
        return ""
    return text[: offsets[left - 1][1]].rstrip() if keep == "start" else text[offsets[-left][0] :].lstrip()
