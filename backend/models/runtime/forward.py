"""Run one forward pass: pad prompts into a batch, return the head's logits, check and freeze the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from backend.errors import CheckpointError, UnsupportedError
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Columns


def hand_over(loaded: LoadedModel, *arrays: np.ndarray) -> None:
    """Make a model's results read-only. Raises CheckpointError if a value is not finite."""
    if not all(np.isfinite(array).all() for array in arrays):
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{loaded.model.config.name_or_path} gives values that are not finite in {dtype}; "
            + ("its weights are damaged, save them again." if dtype == "float32" else 'set dtype = "float32".')
        )
    for array in arrays:
        array.setflags(write=False)


def pick(logits: Float[Tensor, "rows outputs"], columns: Columns) -> Float[Tensor, "rows columns"]:
    """Return these columns of a model's output, as logits or log-probabilities. CheckpointError if it has fewer."""
    check_columns(columns, logits.shape[-1])
    if columns.normalized:
        logits = logits.float().log_softmax(dim=-1)
    return logits[:, list(columns.tokens)]


def check_columns(columns: Columns, outputs: int) -> None:
    """Raise CheckpointError for a column that the output lacks; see `check_indices`."""
    if max(columns.tokens, default=0) >= outputs:
        raise CheckpointError(
            f"The model has {outputs} outputs, numbered from 0, and output {max(columns.tokens)} is asked for; use "
            f"label words of its own tokenizer."
        )


def run(
    loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor]
) -> Float[Tensor, "batch answers"] | None:
    """Run one forward pass inside `taps`. Returns logits over the vocabulary or the classes; None without a head."""
    family = loaded.components.family
    arguments: dict[str, Any] = {"use_cache": False, **inputs} if family.kind == "causal" else inputs
    if family.predicts:
        return loaded.model(input_ids=ids, **arguments).logits[:, 0]
    if family.kind == "encoder" and family.has_head:
        return loaded.model(input_ids=ids, **arguments).logits
    hidden = loaded.components.body(input_ids=ids, **arguments).last_hidden_state
    # transformers' own pooling of a causal classifier searches for padding tokens, which these prompts do not have
    return loaded.components.unembed(hidden)[:, 0] if family.has_head else None


def pad(
    token_ids: Sequence[tuple[int, ...]], readout: str, loaded: LoadedModel, token_types: Sequence[tuple[int, ...]] = ()
) -> tuple[Int64[Tensor, "batch tokens"], Int64[Tensor, " batch"], dict[str, Tensor]]:
    """Return token ids padded on the right, each row's readout position, and mask and token types if needed.

    A causal model never attends to the right of the readout position, so padding there changes nothing, and without a
    mask the fastest attention runs. A bidirectional model gets a mask.
    """
    check_indices(loaded, token_ids, token_types)
    longest = max(map(len, token_ids))
    padded, types = ([row + row[-1:] * (longest - len(row)) for row in rows] for rows in (token_ids, token_types))
    lengths = torch.tensor([len(ids) for ids in token_ids])
    positions = torch.zeros_like(lengths) if readout == "first" else lengths - 1
    inputs: dict[str, Tensor] = {}
    if readout == "first" or not getattr(loaded.model.config, "is_causal", True):
        inputs["attention_mask"] = _send((torch.arange(longest) < lengths[:, None]).long(), loaded.device)
    if types:
        inputs["token_type_ids"] = _send(torch.tensor(types), loaded.device)
    return _send(torch.tensor(padded), loaded.device), _send(positions, loaded.device), inputs


def averages(places: Sequence[tuple[int, ...]], tokens: int, device: torch.device) -> Float[Tensor, "batch tokens"]:
    """Return the weight of every token of padded rows in the mean over some places of each row."""
    weights = torch.zeros((len(places), tokens))
    for row, chosen in enumerate(places):
        weights[row, list(chosen)] = 1 / len(chosen)
    return weights.to(device)


def check_indices(
    loaded: LoadedModel, token_ids: Sequence[tuple[int, ...]], token_types: Sequence[tuple[int, ...]] = ()
) -> None:
    """Raise CheckpointError for a token, token type or position that the model has no row for.

    An index that is out of range ends the whole process on a GPU, so it is found here, on the CPU.
    """
    tables = {
        "token": (max(map(max, token_ids)), loaded.rows("token")),
        "token type": (max(map(max, token_types), default=0), loaded.rows("token type")),
        "position": (max(map(len, token_ids)) - 1, loaded.rows("position")),
    }
    for name, (largest, rows) in tables.items():
        if rows is not None and (largest >= rows or min(map(min, token_ids)) < 0):
            raise CheckpointError(
                f"{loaded.model.config.name_or_path} has {rows} {name}s, numbered from 0, and the prompts use {name} "
                f"{largest}; shorten the prompts or use the tokenizer of this checkpoint."
            )


def check_written(loaded: LoadedModel, token_ids: Sequence[int]) -> None:
    """Raise UnsupportedError if the last token that the model wrote is one that it cannot read."""
    rows = loaded.rows("token")
    if rows is not None and token_ids and token_ids[-1] >= rows:
        raise UnsupportedError(
            f"{loaded.model.config.name_or_path} writes token {token_ids[-1]} and has embeddings for {rows} tokens in "
            f"every block, so transformers cannot continue the text; enlarge them with resize_token_embeddings."
        )


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for it; only pinned memory can be copied in the background."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
