"""The residual stream at one layer, at every token: read in pieces that fit into memory, or replaced on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.errors import AutoencoderError, CheckpointError
from backend.models.runtime.batching import in_batches
from backend.models.runtime.components import ModelComponents
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

PIECE_BYTES = 2**30
"""Residuals held at once."""
OUTLIER = 10.0
"""Residuals longer than so many times the median are left out: a few positions that attention rests on."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Residuals of one layer at every token of some prompts, in their order; `review` counts within those prompts.

    `left_out` marks position 0 and residuals longer than ten times the median (of all other positions here).
    """

    residuals: Float32[np.ndarray, "tokens width"]
    norm: Float32[np.ndarray, " tokens"]
    review: Int32[np.ndarray, " tokens"]
    position: Int32[np.ndarray, " tokens"]
    left_out: Bool[np.ndarray, " tokens"]


def pieces(order: Sequence[int], prompts: Prompts, width: int, most_bytes: int = PIECE_BYTES) -> list[list[int]]:
    """The prompts, in this order, in pieces whose residuals fit into `most_bytes`; one that is larger goes alone.

    CheckpointError where there are none.
    """
    if not len(order):
        raise CheckpointError("There are no prompts to read; raise dataset.sample.")
    found: list[list[int]] = []
    room = 0
    for i in order:
        size = len(prompts.token_ids[i]) * width * 4
        if size > room:
            found.append([])
            room = most_bytes
        found[-1].append(i)
        room -= size
    return found


def some(prompts: Prompts, chosen: Sequence[int]) -> Prompts:
    """These prompts alone, in this order."""
    return replace(prompts.some(chosen), digest="")


def read_tokens(loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress, doing: str) -> Tokens:
    """Residuals entering block `layer` (L: leaving the last) at all tokens; the blocks behind do not run.

    Raises AutoencoderError for a layer that there is not, DeviceError, CheckpointError for values not finite.
    """
    blocks = len(loaded.components.blocks)
    if not 0 <= layer <= blocks:
        raise AutoencoderError(f"{loaded.model.config.name_or_path} has the layers 0 to {blocks}, and no {layer}.")
    lengths = prompts.lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    residuals = np.empty((int(starts[-1]), loaded.model.config.hidden_size), np.float32)

    def read(batch: Prompts) -> np.ndarray:
        return _read(loaded, batch, layer)

    for batch, found in in_batches(read, loaded, prompts, progress, doing):
        for i, rows in zip(batch, found, strict=True):
            residuals[starts[i] : starts[i + 1]] = rows[: lengths[i]]
    hand_over(loaded, residuals)
    position = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    norm = np.linalg.norm(residuals, axis=1)
    return Tokens(
        residuals,
        norm,
        np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        position,
        left_out(norm, position),
    )


def left_out(norm: Float32[np.ndarray, " tokens"], position: Int32[np.ndarray, " tokens"]) -> np.ndarray:
    """Which tokens do not count: position 0, and norms above ten times the median of the others."""
    later = norm[position > 0]
    if not len(later):
        raise AutoencoderError("Every prompt is a single token, and position 0 does not count; use longer texts.")
    return (position == 0) | (norm > OUTLIER * np.median(later))


@torch.inference_mode()
def _read(loaded: LoadedModel, batch: Prompts, layer: int) -> Float32[np.ndarray, "batch tokens width"]:
    """One padded batch; here tensors become float32 arrays on the CPU."""
    ids, _, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    with _until(loaded, layer) as taken, suppress(_Enough):
        run_body(loaded, ids, inputs)
    return taken[0].to("cpu", torch.float32).numpy()


def run_body(loaded: LoadedModel, ids: Tensor, inputs: dict[str, Tensor]) -> Float[Tensor, "batch tokens width"]:
    """What the final norm gives (in an encoder: the last block) at every position; the head does not run."""
    told: dict[str, Any] = inputs if loaded.components.family.kind == "encoder" else {"use_cache": False, **inputs}
    return loaded.model.base_model(input_ids=ids, **told).last_hidden_state


class _Enough(Exception):
    """Raised inside a forward pass once the layer that was asked for has been read."""


@contextmanager
def _until(loaded: LoadedModel, layer: int) -> Iterator[list[Tensor]]:
    """While open, a forward pass leaves its residuals of the layer in the list, and ends there.

    A model whose parts are brought to the device one by one is let run to its end, which takes them away again.
    """
    taken: list[Tensor] = []
    offloaded = any(hasattr(module, "_hf_hook") for module in loaded.model.modules())

    def take(x: Tensor) -> Tensor:
        taken.append(x)
        if not offloaded:
            raise _Enough
        return x

    with passing(loaded.components, layer, take):
        yield taken


@contextmanager
def passing(components: ModelComponents, layer: int, through: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, every forward pass goes on from `through` of the layer's residuals [batch, tokens, width]."""

    def entering(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (through(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": through(kwargs["hidden_states"])}

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return (through(output[0]), *output[1:]) if isinstance(output, tuple) else through(output)

    if layer < len(components.blocks):
        hook = components.blocks[layer].whole.register_forward_pre_hook(entering, with_kwargs=True)
    else:
        hook = components.blocks[-1].whole.register_forward_hook(leaving)
    try:
        yield
    finally:
        hook.remove()
