"""Run many interventions on the readout position of a causal model at once, as one token each.

No token attends to the last token of a prompt, so a change there leaves every other position unchanged. A branch is
then one token that attends to the cached keys and values of the prompt. All branches of a prompt run through a block
side by side; each attends to the prompt before the readout position and to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from backend.models.runtime.blocks import Residuals, Surroundings, attend, proceed
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

    def to(self, _device: torch.device) -> Kept:
        """Return the cache itself: keys and values stay on their block's device."""
        return self

    def beside(self, around: Surroundings) -> Surroundings:
        """Return surroundings in which attention uses this cache."""
        return tuple(arguments | {"past_key_values": self} for arguments in around)


def around_branches(
    loaded: LoadedModel, x: Residuals, readout: Int64[Tensor, " batch"], count: int, kept: Kept
) -> Surroundings:
    """Return the surroundings of `count` branches of each prompt, given the prompts' residuals `x`."""
    rows = len(x)
    readout, config = readout.to(x.device), loaded.model.config
    places = readout[:, None].expand(rows, count)
    shared: dict[str, Any] = {"position_ids": places}
    if loaded.components.rotary is not None:
        shared["position_embeddings"] = loaded.components.rotary(x, position_ids=places)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or [
        "sliding_attention" if window else "full_attention" for _ in loaded.components.blocks
    ]
    masks = {kind: _mask(x, readout, count, window if kind == "sliding_attention" else None) for kind in set(kinds)}
    return kept.beside(tuple({"attention_mask": masks[kind], **shared} for kind in kinds))


def _mask(
    x: Residuals, readout: Int64[Tensor, " batch"], count: int, window: int | None
) -> Float[Tensor, "batch 1 branches keys"]:
    """Return 0 where a branch may attend, and the smallest number of the dtype elsewhere."""
    rows, tokens = x.shape[:2]
    at = torch.arange(tokens, device=x.device)
    before = at < readout[:, None]
    if window is not None:
        before &= at > readout[:, None] - window
    own = torch.eye(count, dtype=torch.bool, device=x.device)
    seen = torch.cat([before[:, None].expand(rows, count, tokens), own.expand(rows, count, count)], dim=2)
    mask = torch.zeros(seen.shape, dtype=x.dtype, device=x.device)
    return mask.masked_fill(~seen, torch.finfo(x.dtype).min)[:, None]


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
    arguments = dict(around[layer])
    mask = arguments["attention_mask"]
    keys = mask.shape[3] - mask.shape[2] + count
    arguments["attention_mask"] = mask[:, :, :count, :keys]
    arguments["position_ids"] = arguments["position_ids"][:, :count]
    if "position_embeddings" in arguments:
        arguments["position_embeddings"] = tuple(angles[:, :count] for angles in arguments["position_embeddings"])
    return (*around[:layer], arguments)
