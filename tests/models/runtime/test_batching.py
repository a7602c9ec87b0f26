"""Batches hold every prompt once and keep to their budget; a batch that does not fit into memory is halved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import DeviceError
from backend.models.runtime.batching import make_batches, run_alone, run_batches

CPU = torch.device("cpu")


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


def limited(most: int):
    """Return a reader that runs out of memory for more than `most` prompts, and the batches that it was called with."""
    calls: list[list[int]] = []

    def read(batch: list[int]) -> int:
        calls.append(batch)
        if len(batch) > most:
            raise torch.OutOfMemoryError("full")
        return sum(batch)

    return read, calls


def test_a_batch_that_does_not_fit_is_halved_in_order():
    read, calls = limited(2)
    assert list(run_batches([[0, 1, 2, 3, 4], [5]], read, CPU)) == [([0, 1], 1), ([2], 2), ([3, 4], 7), ([5], 5)]
    assert calls[:3] == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4]]


def test_a_reader_that_can_shrink_runs_the_whole_batch_again():
    attempts = iter([True, False])
    read, calls = limited(1)
    assert list(run_batches([[0, 1]], read, CPU, lambda _: next(attempts))) == [([0], 0), ([1], 1)]
    assert calls == [[0, 1], [0, 1], [0], [1]]


def test_a_single_prompt_that_does_not_fit_is_an_error():
    with pytest.raises(DeviceError, match="One prompt alone does not fit into the free memory of cpu"):
        list(run_batches([[0]], limited(0)[0], CPU))
    with pytest.raises(ZeroDivisionError):
        run_alone(lambda: 1 // 0, CPU)
    assert run_alone(lambda: "result", CPU) == "result"
