"""Read the residual stream at one layer and every token, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import AutoencoderError, CheckpointError
from backend.models.runtime import calls
from backend.models.runtime.batching import in_batches
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import replacing
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

PIECE_BYTES = 2**30
"""Residuals held at once."""
OUTLIER = 10.0
"""Residuals longer than this many times the median are left out: a few positions that attract attention (sinks)."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Residuals of one layer at every token of some prompts, in order; `review` is the index among those prompts.

    `left_out` marks position 0, and residuals longer than ten times the median over the other positions.
    """

    residuals: Float32[np.ndarray, "tokens width"]
    norm: Float32[np.ndarray, " tokens"]
    review: Int32[np.ndarray, " tokens"]
    position: Int32[np.ndarray, " tokens"]
    left_out: Bool[np.ndarray, " tokens"]


def pieces(order: Sequence[int], prompts: Prompts, width: int, most_bytes: int = PIECE_BYTES) -> list[list[int]]:
    """Split the prompts, in this order, into pieces whose residuals fit into `most_bytes`; a larger prompt goes alone.

    Raises CheckpointError for no prompts.
    """
    if not len(order):
        raise CheckpointError("There are no prompts to read; raise dataset.sample.")
    groups: list[list[int]] = []
    room = 0
    for i in order:
        size = len(prompts.token_ids[i]) * width * 4
        if size > room:
            groups.append([])
            room = most_bytes
        groups[-1].append(i)
        room -= size
    return groups


def some(prompts: Prompts, chosen: Sequence[int]) -> Prompts:
    """Return the chosen prompts, in this order."""
    return replace(prompts.some(chosen), digest="")


def read_tokens(loaded: LoadedModel, prompts: Prompts, layer: int, progress: Progress, doing: str) -> Tokens:
    """Read the residuals entering block `layer` (L: leaving the last) at all tokens; later blocks do not run.

    Raises AutoencoderError for a layer out of range, DeviceError, CheckpointError for values that are not finite.
    """
    blocks = len(loaded.components.blocks)
    if not 0 <= layer <= blocks:
        raise AutoencoderError(
            f"Layer {layer} is not a layer of {loaded.model.config.name_or_path}; choose one from 0 to {blocks}."
        )
    lengths = prompts.lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    residuals = np.empty((int(starts[-1]), loaded.model.config.hidden_size), np.float32)

    def read(batch: Prompts) -> np.ndarray:
        return _read(loaded, batch, layer)

    for batch, padded_rows in in_batches(read, loaded, prompts, progress, doing):
        for i, rows in zip(batch, padded_rows, strict=True):
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
    """Return which tokens to leave out: position 0, and norms above ten times the median of the others."""
    later = norm[position > 0]
    if not len(later):
        raise AutoencoderError("Every prompt is a single token, and position 0 is left out; use longer texts.")
    return (position == 0) | (norm > OUTLIER * np.median(later))


@torch.inference_mode()
def _read(loaded: LoadedModel, batch: Prompts, layer: int) -> Float32[np.ndarray, "batch tokens width"]:
    """Read one padded batch; tensors become float32 arrays on the CPU here."""
    ids, _, inputs = pad(batch.token_ids, batch.readout, loaded, batch.token_types)
    with _until(loaded, layer) as residuals, suppress(_Enough):
        run_body(loaded, ids, inputs)
    return residuals[0].to("cpu", torch.float32).numpy()


def run_body(loaded: LoadedModel, ids: Tensor, inputs: dict[str, Tensor]) -> Float[Tensor, "batch tokens width"]:
    """Return the output of the final norm (in an encoder: of the last block) at every position, without the head."""
    return calls.run_body(loaded, ids, inputs).last_hidden_state


class _Enough(Exception):
    """Ends a forward pass once the requested layer has been read."""


@contextmanager
def _until(loaded: LoadedModel, layer: int) -> Iterator[list[Tensor]]:
    """Collect the layer's residuals in a forward pass, and end the pass there.

    An offloaded model runs to the end, because only then does accelerate move its weights off the device again.
    """
    residuals: list[Tensor] = []
    offloaded = calls.is_offloaded(loaded)

    def take(x: Tensor) -> Tensor:
        residuals.append(x)
        if not offloaded:
            raise _Enough
        return x

    with replacing(loaded.components, layer, take):
        yield residuals
