"""Run many interventions on the readout position of a causal model at once, as one token each.

No token attends to the last token of a prompt, so a change there leaves every other position unchanged. A branch is
then one token that attends to the cached keys and values of the prompt. All branches of a prompt run through a block
side by side; each attends to the prompt before the readout position and to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from backend.models.runtime.blocks import Surroundings, attend, proceed
from backend.models.runtime.calls import Call, Residuals, tensors_of
from backend.models.runtime.load import LoadedModel


class Kept:
    """A key-value cache for attention: stores keys and values of every block, then prepends them to new ones."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[Tensor, Tensor]] = {}
        self.filling = True

    def update(self, keys: Tensor, values: Tensor, block: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values that attention uses."""
        if self.filling:
            self.of[block] = keys, values
            return keys, values
        before = self.of[block]
        return torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)

    def beside(self, around: Surroundings) -> Surroundings:
        """Return surroundings in which attention uses this cache."""
        return tuple(call.with_cache(self) for call in around)


_MASK = "attention_mask"
_PER_TOKEN = ("position_ids", "position_embeddings", "cache_position")
"""Arguments of attention with one row per token, so that they can be cut to some of a text's tokens."""


def can_be_cut(loaded: LoadedModel, around: Surroundings, tokens: int) -> bool:
    """Return whether attention can run on some tokens, with keys and values of the earlier ones from a cache.

    Every tensor that it gets must be a mask, or one row per token; and it must hold no table of positions of its own,
    such as GPT-Neo's windows, which would count positions from the wrong token.
    """
    if not loaded.checked.halves or loaded.components.family.kind != "causal":
        return False
    for block, call in zip(loaded.components.blocks, around, strict=True):
        own_tables = block.attn is None or any(buffer.ndim > 1 for buffer in block.attn.buffers())
        if own_tables or call.rest or call.cache is None:
            return False
        for name, value in tensors_of(call).items():
            key = name.partition(".")[0]
            masks = key == _MASK and value.shape == (1, 1, tokens, tokens)
            per_token = key != _MASK and value.shape[:2] == (1, tokens)
            if key not in (_MASK, *_PER_TOKEN) or not (masks or per_token or value.shape == (tokens,)):
                return False
    return True


def later(call: Call, start: int, length: int) -> Call:
    """Return the call for the tokens from `start` on, which also attend to all earlier tokens."""
    mask = call.named[_MASK]
    if mask is None:
        every = torch.arange(length, device=_device(call))
        mask = (every <= every[:, None])[None, None]
    cut = {name: _rows(value, slice(start, None)) for name, value in call.named.items() if name in _PER_TOKEN}
    return replace(call, named=call.named | cut | {_MASK: mask[:, :, start:]})


def _device(call: Call) -> torch.device | None:
    return next((value.device for value in tensors_of(call).values()), None)


def _rows(value: Any, chosen: Any) -> Any:
    """Return some tokens of an argument with one row per token."""
    if isinstance(value, tuple):
        return tuple(_rows(item, chosen) for item in value)
    if not isinstance(value, Tensor):
        return value
    return value[chosen] if value.ndim == 1 else value[:, chosen]


def around_branches(
    around: Surroundings, x: Residuals, readout: Int64[Tensor, " batch"], count: int, kept: Kept
) -> Surroundings:
    """Return the surroundings of `count` branches of each prompt, given those of the prompts and their residuals `x`.

    A branch sees what the readout position sees, and has its position.
    """
    masks: dict[int, Tensor] = {}
    calls: list[Call] = []
    for call in around:
        mask = call.named[_MASK]
        if id(mask) not in masks:
            masks[id(mask)] = _mask(x, readout.to(x.device), count, mask)
        named = {name: _at(value, readout, count) for name, value in call.named.items() if name in _PER_TOKEN}
        calls.append(replace(call, named=call.named | named | {_MASK: masks[id(mask)]}, rows=len(x)))
    return kept.beside(tuple(calls))


def _at(value: Any, readout: Int64[Tensor, " batch"], count: int) -> Any:
    """Return the readout position's row of an argument, once for each branch."""
    if isinstance(value, tuple):
        return tuple(_at(item, readout, count) for item in value)
    if not isinstance(value, Tensor):
        return value
    rows = (value if value.ndim == 1 else value[0])[readout.to(value.device)]
    return rows[:, None].expand(-1, count, *rows.shape[1:])


def _mask(
    x: Residuals, readout: Int64[Tensor, " batch"], count: int, mask: Tensor | None
) -> Float[Tensor, "batch 1 branches keys"]:
    """Return 0 where a branch may attend, and the smallest number of the dtype elsewhere."""
    rows, tokens = x.shape[:2]
    before = torch.arange(tokens, device=x.device) < readout[:, None]
    if mask is not None:
        seen_by = mask[0, 0].to(x.device)[readout]
        before &= seen_by if seen_by.dtype == torch.bool else seen_by > torch.finfo(mask.dtype).min / 2
    own = torch.eye(count, dtype=torch.bool, device=x.device)
    seen = torch.cat([before[:, None].expand(rows, count, tokens), own.expand(rows, count, count)], dim=2)
    masked = torch.zeros(seen.shape, dtype=x.dtype, device=x.device)
    return masked.masked_fill(~seen, torch.finfo(x.dtype).min)[:, None]


def run_branches(
    loaded: LoadedModel,
    starts: Sequence[int],
    added: Sequence[Float[Tensor, "branches width"]],
    trunk: Sequence[Float[Tensor, "batch width"]],
    around: Surroundings,
    count: Callable[[int], None],
) -> Float[Tensor, "batch branches width"]:
    """Return the last residuals of branches that leave the trunk at layers `starts`, in rising order.

    `trunk[l]` is the readout position's residual at layer l, and `added[l][i]` is added to branch i there. `count` is
    called with the number of tokens before each block that they pass.
    """
    last = len(loaded.components.blocks)
    x = trunk[starts[0]][:, None, :].expand(-1, 0, -1)
    for layer in range(starts[0], last + 1):
        new = sum(start == layer for start in starts)
        x = torch.cat([x, trunk[layer].to(x)[:, None].expand(-1, new, -1)], dim=1)
        x = (x + added[layer][: x.shape[1]].to(x.device)).to(x.dtype)
        if layer < last:
            count(x.shape[0] * x.shape[1])
            x = proceed(loaded, layer, attend(loaded, layer, x, _first(around, layer, x.shape[1])))
    return x


def _first(around: Surroundings, layer: int, count: int) -> Surroundings:
    """Return the surroundings of a block for the first `count` branches only."""
    call = around[layer]
    mask = call.named[_MASK]
    keys = mask.shape[3] - mask.shape[2] + count
    cut = {name: _rows(value, slice(count)) for name, value in call.named.items() if name in _PER_TOKEN}
    named = call.named | cut | {_MASK: mask[:, :, :count, :keys]}
    return (*around[:layer], replace(call, named=named))
