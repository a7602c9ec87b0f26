"""Pairs of texts: how several texts of one row fill a template, and which of them is cut when they are too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from backend.errors import PromptError
from backend.study.config import PromptSpec
from backend.study.template import order

Input = str | tuple[str, ...]
"""What fills a template: a text, or the texts of a pair in the order of dataset.text."""


def shown(parts: Sequence[str]) -> str:
    """A pair as one text for people, a line each."""
    return "\n".join(" ".join(part.splitlines()) for part in parts)


def typed(spec: PromptSpec, text: str) -> Input:
    """What somebody typed as the input of a template: a line each where it takes several texts. Raises PromptError."""
    if len(spec.fields) == 1:
        return text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != len(spec.fields):
        raise PromptError(
            f"This study reads {len(spec.fields)} texts at once ({', '.join(spec.fields)}); write each on its own "
            f"line, in this order."
        )
    return tuple(lines)


def in_order(spec: PromptSpec, given: Input) -> tuple[str, ...]:
    """The texts in the order in which the template has them."""
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
    """The texts, in the template's order, with the template's words between them; one text is itself."""
    between = spec.pieces[1:-1] if len(parts) > 1 else ()
    return parts[0] + "".join(words + part for words, part in zip(between, parts[1:], strict=True))


def shorter(tokenizer: Tokenizer, parts: Sequence[str], room: int, keep: str) -> Iterator[tuple[str, ...]]:
    """Ever shorter texts: first of at most `room` tokens together, then of a token fewer each time, down to none.

    A token is taken from the longest text (of equals the last), at the end that `keep` does not name, by character
    offsets; a text of a pair that loses none stays as it is.
    """
    offsets = [tokenizer.encode(part, add_special_tokens=False).offsets for part in parts]
    left = [len(one) for one in offsets]
    while sum(left) > max(room, 0):
        left[_longest(left)] -= 1
    while True:
        yield tuple(
            part if len(parts) > 1 and n == len(one) else _cut(part, one, n, keep)
            for part, one, n in zip(parts, offsets, left, strict=True)
        )
        if not any(left):
            return
        left[_longest(left)] -= 1


def _longest(left: Sequence[int]) -> int:
    return max(range(len(left)), key=lambda i: (left[i], i))


def _cut(text: str, offsets: Sequence[tuple[int, int]], left: int, keep: str) -> str:
    """`left` tokens of the text, from its start or its end, without the white space at the cut."""
    if left <= 0:
        return ""
    return text[: offsets[left - 1][1]].rstrip() if keep == "start" else text[offsets[-left][0] :].lstrip()
