"""Prompts of similar length go together, so that little is padded and no number depends on the company. No torch."""

from __future__ import annotations

from collections.abc import Sequence


def make_batches(lengths: Sequence[int], tokens: int, rows: int | None = None) -> list[list[int]]:
    """Indices of the prompts in batches, longest first, each of at most `tokens` tokens with its padding.

    A prompt that is longer than `tokens` goes alone; `rows` bounds the prompts in a batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for i in order:
        last = batches[-1] if batches else []
        fits = last and (len(last) + 1) * lengths[last[0]] <= tokens and (rows is None or len(last) < rows)
        if fits:
            last.append(i)
        else:
            batches.append([i])
    return batches
