"""Batches hold every prompt once and keep to their budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.models.runtime.batching import make_batches


def test_by_hand():
    assert make_batches([3, 10, 4, 9], tokens=20) == [[1, 3], [2, 0]]
    assert make_batches([3, 10, 4, 9], tokens=20, rows=1) == [[1], [3], [2], [0]]
    assert make_batches([50, 2], tokens=20) == [[0], [1]]
    assert make_batches([], tokens=20) == []


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 300), st.none() | st.integers(1, 8))
def test_every_prompt_once_within_the_budget(lengths: list[int], tokens: int, rows: int | None):
    batches = make_batches(lengths, tokens, rows)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert len(batch) == 1 or (padded <= tokens and (rows is None or len(batch) <= rows))
