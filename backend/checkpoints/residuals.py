"""Reading the residual stream at the readout position of every prompt; no other position is ever kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from backend.checkpoints.anatomy import Anatomy
from backend.checkpoints.batches import make_batches
from backend.checkpoints.devices import give_back, is_out_of_memory
from backend.checkpoints.opening import Opened
from backend.checkpoints.telling import Telling
from backend.errors import CheckpointError, DeviceError
from backend.lab import Progress, Prompts, Readout
from backend.ports import Columns
from backend.whole_words import expand

BATCH_TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""Enough to keep a device busy; more would only pad more, because prompts of a batch differ more in length."""


def collect(
    opened: Opened, prompts: Prompts, progress: Progress, tokens: int | None = None, rows: int | None = None
) -> Readout:
    """Residuals entering every block and leaving the last, and the label logits, at the readout position.

    Prompts run in batches of similar length and at most `tokens` tokens and `rows` prompts. The logits are the
    model's own: its head (with whatever scaling, bias or soft-capping it has) sees the readout position only; a label
    word of several tokens is read behind each of its beginnings too. Raises DeviceError when one prompt alone does not
    fit, CheckpointError when a value is not finite.
    """
    words = expand(prompts)
    prompts = words.prompts
    count, layers = len(prompts.token_ids), len(opened.anatomy.blocks) + 1
    residuals: np.ndarray | None = None
    logits = np.empty((count, prompts.classes), np.float32)
    lengths = [len(ids) for ids in prompts.token_ids]
    waiting = deque(make_batches(lengths, tokens or BATCH_TOKENS[opened.device.type], rows))
    tokens_done, prompts_done, telling = 0, 0, Telling(progress)
    while waiting:
        telling(tokens_done / sum(lengths), f"Reading prompts: {prompts_done} of {count}.")
        batch = waiting.popleft()
        with telling.before_blocks(opened.anatomy):
            read = _read_or_none(opened, [prompts.token_ids[i] for i in batch], prompts)
        if read is None:
            waiting.extendleft(reversed(halved(batch, opened.device)))
            continue
        if residuals is None:
            residuals = np.empty((count, layers, read[0].shape[2]), np.float32)
        residuals[batch], logits[batch] = read
        tokens_done += sum(lengths[i] for i in batch)
        prompts_done += len(batch)
    if residuals is None:
        raise CheckpointError("There are no prompts to read; raise dataset.sample.")
    residuals, logits = words.apart(residuals), words.combine_rows(logits)
    hand_over(opened, residuals, *([logits] if opened.anatomy.family.has_head else []))
    return Readout(residuals=residuals[0], logits=logits, after=residuals[1:])


def hand_over(opened: Opened, *arrays: np.ndarray) -> None:
    """Make what a model gave read-only; CheckpointError if a value is not finite."""
    if not all(np.isfinite(array).all() for array in arrays):
        dtype = str(opened.model.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{opened.model.config.name_or_path} gives values that are not finite in {dtype}; "
            + ("its weights are damaged, save them again." if dtype == "float32" else 'set dtype = "float32".')
        )
    for array in arrays:
        array.setflags(write=False)


def _read_or_none(
    opened: Opened, token_ids: Sequence[tuple[int, ...]], prompts: Prompts
) -> tuple[Float32[np.ndarray, "batch layers width"], Float32[np.ndarray, "batch classes"]] | None:
    """One batch; None when the device ran out of memory, with everything of the attempt released."""
    try:
        return read_batch(opened, token_ids, prompts.columns, prompts.readout)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise


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


@torch.inference_mode()
def read_batch(
    opened: Opened, token_ids: Sequence[tuple[int, ...]], columns: Columns, readout: str
) -> tuple[Float32[np.ndarray, "batch layers width"], Float32[np.ndarray, "batch columns"]]:
    """One right-padded batch through the model; this is where tensors become detached float32 arrays on the CPU."""
    ids, positions, inputs = pad(token_ids, readout, opened)
    with taps(opened.anatomy, positions) as taken:
        logits = run(opened, ids, inputs)
    stacked = torch.stack([one.to(taken[0].device) for one in taken], dim=1)
    logits = torch.full((len(ids), len(columns.tokens)), torch.nan) if logits is None else pick(logits, columns)
    return stacked.to("cpu", torch.float32).numpy(), logits.to("cpu", torch.float32).numpy()


def pick(logits: Float[Tensor, "rows outputs"], columns: Columns) -> Float[Tensor, "rows columns"]:
    """The columns of a model's output, as logits or log-probabilities."""
    if columns.normalized:
        logits = logits.float().log_softmax(dim=-1)
    return logits[:, list(columns.tokens)]


def run(
    opened: Opened, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor]
) -> Float[Tensor, "batch answers"] | None:
    """One forward pass inside `taps`: logits over the vocabulary, or of the classes; None without a head."""
    family = opened.anatomy.family
    told: dict[str, Any] = {"use_cache": False, **inputs} if family.kind == "causal" else inputs
    if family.predicts:
        return opened.model(input_ids=ids, **told).logits[:, 0]
    if family.kind == "encoder" and family.has_head:
        return opened.model(input_ids=ids, **told).logits
    hidden = opened.model.base_model(input_ids=ids, **told).last_hidden_state
    # transformers' own pooling of a causal classifier looks for padding, of which the prompts have none
    return opened.anatomy.unembed(hidden)[:, 0] if family.has_head else None


def pad(
    token_ids: Sequence[tuple[int, ...]], readout: str, opened: Opened
) -> tuple[Int64[Tensor, "batch tokens"], Int64[Tensor, " batch"], dict[str, Tensor]]:
    """Token ids padded on the right, each row's readout position, and the mask if the model needs one.

    A causal model never looks right of the readout position, so padding there changes nothing and without a mask the
    fastest attention runs; a model that looks both ways gets a mask.
    """
    longest = max(map(len, token_ids))
    padded = [ids + ids[-1:] * (longest - len(ids)) for ids in token_ids]
    lengths = torch.tensor([len(ids) for ids in token_ids])
    positions = lengths - 1 if readout == "last" else torch.zeros_like(lengths)
    inputs: dict[str, Tensor] = {}
    if readout != "last" or not getattr(opened.model.config, "is_causal", True):
        inputs["attention_mask"] = _send((torch.arange(longest) < lengths[:, None]).long(), opened.device)
    return _send(torch.tensor(padded), opened.device), _send(positions, opened.device), inputs


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device without waiting for it; only pinned memory can be copied in the background."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def taps(anatomy: Anatomy, positions: Int64[Tensor, " batch"] | None) -> Iterator[list[Tensor]]:
    """While open, every forward pass leaves the residuals at `positions` in the list, and the head sees only those.

    The list holds L+1 tensors `[batch, width]` after one pass: what enters each block, then what leaves the last.
    Without positions they are `[batch, tokens, width]`, and the head sees the last token.
    """
    taken: list[Tensor] = []

    def gather(hidden: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch *tokens width"]:
        if positions is None:
            return hidden
        rows = torch.arange(len(positions), device=hidden.device)
        return hidden[rows, positions.to(hidden.device)]

    def entering(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taken.append(gather(args[0] if args else kwargs["hidden_states"]))

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        taken.append(gather(output[0] if isinstance(output, tuple) else output))

    def only_readout(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        return (args[0][:, -1:] if positions is None else gather(args[0])[:, None],)

    with ExitStack() as hooks:
        for block in anatomy.blocks:
            hooks.callback(block.whole.register_forward_pre_hook(entering, with_kwargs=True).remove)
        hooks.callback(anatomy.blocks[-1].whole.register_forward_hook(leaving).remove)
        hooks.callback(anatomy.unembed.register_forward_pre_hook(only_readout).remove)
        yield taken
