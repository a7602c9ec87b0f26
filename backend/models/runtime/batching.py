"""Run prompts in batches of similar length; a batch that does not fit into memory is halved."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch

from backend.caching.progress import Progress
from backend.errors import CheckpointError, DeviceError
from backend.models.runtime.devices import free_bytes, give_back, is_out_of_memory
from backend.models.runtime.hooks import Repeating
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.memory_plan import tokens_that_fit
from backend.study.token_ids import Prompts

T = TypeVar("T")

BATCH_TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""Tokens that keep a device busy. Larger batches hold prompts of more different lengths, so they pad more."""


def tokens_at_once(loaded: LoadedModel, most: Mapping[str, int] = BATCH_TOKENS) -> int:
    """Return how many tokens may pass a block together: those that keep the device busy, if they fit into it now."""
    width, itemsize = getattr(loaded.model.config, "hidden_size", 1024), loaded.model.dtype.itemsize
    return tokens_that_fit(width, itemsize, free_bytes(loaded.device), most[loaded.device.type])


def make_batches(lengths: Sequence[int], tokens: int, rows: int | None = None) -> list[list[int]]:
    """Return the prompts' indices in batches, longest first, each of at most `tokens` tokens with its padding.

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
    """Yield each batch: the indices of its prompts, and what `read` returns for them.

    Batches hold at most `tokens` tokens with padding and `rows` prompts; one that does not fit into memory is halved.
    Progress is reported before every batch and before every block that runs in it.
    Raises DeviceError when a single prompt does not fit, CheckpointError when there are no prompts.
    """
    lengths = [len(ids) for ids in prompts.token_ids]
    if not lengths:
        raise CheckpointError("There are no prompts to read; raise dataset.sample.")
    tokens_done, prompts_done, repeating = 0, 0, Repeating(progress)

    def read_batch(batch: list[int]) -> T:
        repeating(tokens_done / sum(lengths), f"{doing}: {prompts_done} of {len(lengths)} prompts.")
        with repeating.before_blocks(loaded.components):
            return read(prompts.some(batch))

    batches = make_batches(lengths, tokens or tokens_at_once(loaded), rows)
    for batch, result in run_batches(batches, read_batch, loaded.device):
        yield batch, result
        tokens_done += sum(lengths[i] for i in batch)
        prompts_done += len(batch)


def run_batches(
    batches: Iterable[list[int]],
    read: Callable[[list[int]], T],
    device: torch.device,
    shrink: Callable[[list[int]], bool] = lambda _batch: False,
) -> Iterator[tuple[list[int], T]]:
    """Yield each batch with the result of `read`, which must not be None.

    When a batch does not fit into memory, `shrink` may make `read` need less: it returns True if the whole batch is to
    run again, otherwise the batch is halved. Raises DeviceError when a single prompt does not fit.
    """
    waiting = deque(batches)
    while waiting:
        batch = waiting.popleft()
        result = _or_none(read, batch)
        if result is not None:
            yield batch, result
            continue
        give_back()
        if shrink(batch):
            waiting.appendleft(batch)
        elif len(batch) == 1:
            raise _too_large(device)
        else:
            middle = len(batch) // 2
            waiting.extendleft((batch[middle:], batch[:middle]))


def run_alone(read: Callable[[], T], device: torch.device, shrink: Callable[[], bool] = lambda: False) -> T:
    """Return the result of `read` for a single prompt; see `run_batches` for `shrink` and the DeviceError."""
    return next(result for _, result in run_batches([[0]], lambda _: read(), device, lambda _: shrink()))


def _too_large(device: torch.device) -> DeviceError:
    """Return the error for a single prompt that does not fit."""
    return DeviceError(
        f"One prompt alone does not fit into the free memory of {device}; close other programs there, lower "
        f'prompt.max_tokens, set device_map = "auto" in study.toml, or LAYERSHIFT_DEVICE to cpu.'
    )


def _or_none(read: Callable[[list[int]], T], batch: list[int]) -> T | None:
    """Return None when the device ran out of memory; leaving this function drops the tensors that the error held."""
    try:
        return read(batch)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise
