"""Batches of prompts of similar length, run one after the other and halved where one does not fit into memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from backend.caching.progress import Progress
from backend.errors import CheckpointError, DeviceError
from backend.models.runtime.devices import give_back, is_out_of_memory
from backend.models.runtime.hooks import Repeating
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

T = TypeVar("T")

BATCH_TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""Enough to keep a device busy; more would only pad more, because prompts of a batch differ more in length."""


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


def in_batches(
    read: Callable[[Prompts], T],
    loaded: LoadedModel,
    prompts: Prompts,
    progress: Progress,
    doing: str,
    tokens: int | None = None,
    rows: int | None = None,
) -> Iterator[tuple[list[int], T]]:
    """Yield each batch: the indices of its prompts, and what `read` made of them.

    Batches hold prompts of similar length, at most `tokens` tokens with padding and `rows` prompts; one that does not
    fit into memory is halved. Progress is reported before every batch and before every block that runs in it.
    Raises DeviceError when a single prompt does not fit, CheckpointError when there are no prompts.
    """
    lengths = [len(ids) for ids in prompts.token_ids]
    if not lengths:
        raise CheckpointError("There are no prompts to read; raise dataset.sample.")
    waiting = deque(make_batches(lengths, tokens or BATCH_TOKENS[loaded.device.type], rows))
    tokens_done, prompts_done, repeating = 0, 0, Repeating(progress)
    while waiting:
        repeating(tokens_done / sum(lengths), f"{doing}: {prompts_done} of {len(lengths)} prompts.")
        batch = waiting.popleft()
        with repeating.before_blocks(loaded.components):
            result = _or_none(read, prompts.some(batch))
        if result is None:
            waiting.extendleft(reversed(halved(batch, loaded.device)))
            continue
        yield batch, result
        tokens_done += sum(lengths[i] for i in batch)
        prompts_done += len(batch)


def halved(batch: list[int], device: torch.device) -> list[list[int]]:
    """The two halves of a batch that did not fit, its memory given back; DeviceError if it is one prompt."""
    give_back(device)
    if len(batch) == 1:
        raise too_large(device)
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]]


def too_large(device: torch.device) -> DeviceError:
    """What to do when even one prompt is too much."""
    return DeviceError(
        f"One prompt alone does not fit into the free memory of {device}; close other programs there, lower "
        f'prompt.max_tokens, set device_map = "auto" in study.toml, or LAYERSHIFT_DEVICE to cpu.'
    )


def _or_none(read: Callable[[Prompts], T], batch: Prompts) -> T | None:
    """None when the device ran out of memory, with everything of the attempt released."""
    try:
        return read(batch)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise
