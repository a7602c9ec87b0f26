"""Prompts through a model batch by batch, halving a batch that does not fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from backend.checkpoints.batches import make_batches
from backend.checkpoints.devices import is_out_of_memory
from backend.checkpoints.opening import Opened
from backend.checkpoints.residuals import BATCH_TOKENS, halved
from backend.checkpoints.telling import Telling
from backend.errors import CheckpointError
from backend.lab import Progress, Prompts

T = TypeVar("T")


def in_batches(
    read: Callable[[list[tuple[int, ...]]], T], opened: Opened, prompts: Prompts, progress: Progress, doing: str
) -> Iterator[tuple[list[int], T]]:
    """The prompts of each batch, by index, and what `read` made of their token ids.

    Progress is told before every batch, and again before every block that runs in it.
    Raises DeviceError when one prompt alone does not fit, CheckpointError when there are none.
    """
    lengths = [len(ids) for ids in prompts.token_ids]
    if not lengths:
        raise CheckpointError("There are no prompts to read; raise dataset.sample.")
    waiting = deque(make_batches(lengths, BATCH_TOKENS[opened.device.type]))
    tokens_done, prompts_done, telling = 0, 0, Telling(progress)
    while waiting:
        telling(tokens_done / sum(lengths), f"{doing}: {prompts_done} of {len(lengths)} prompts.")
        batch = waiting.popleft()
        with telling.before_blocks(opened.anatomy):
            found = _or_none(read, [prompts.token_ids[i] for i in batch])
        if found is None:
            waiting.extendleft(reversed(halved(batch, opened.device)))
            continue
        yield batch, found
        tokens_done += sum(lengths[i] for i in batch)
        prompts_done += len(batch)


def _or_none(read: Callable[[list[tuple[int, ...]]], T], token_ids: list[tuple[int, ...]]) -> T | None:
    """None when the device ran out of memory, with everything of the attempt released."""
    try:
        return read(token_ids)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise
