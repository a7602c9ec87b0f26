"""Hooks on a loaded model, always inside a context manager."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.models.runtime.components import ModelComponents


@contextmanager
def taps(components: ModelComponents, positions: Int64[Tensor, " batch"] | None) -> Iterator[list[Tensor]]:
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
        for block in components.blocks:
            hooks.callback(block.whole.register_forward_pre_hook(entering, with_kwargs=True).remove)
        hooks.callback(components.blocks[-1].whole.register_forward_hook(leaving).remove)
        hooks.callback(components.unembed.register_forward_pre_hook(only_readout).remove)
        yield taken


class Repeating:
    """A progress callback that can repeat its last report, so that a cancel arrives in the middle of a long batch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = 0.0, "Starting."

    def __call__(self, fraction: float, sentence: str) -> None:
        """Report progress."""
        self._last = fraction, sentence
        self.again()

    def again(self) -> None:
        """Report the last progress again."""
        self._progress(*self._last)

    @contextmanager
    def before_blocks(self, components: ModelComponents) -> Iterator[None]:
        """While open, every block of the model repeats the report before it runs."""
        with ExitStack() as hooks:
            for block in components.blocks:
                hooks.callback(block.whole.register_forward_pre_hook(lambda *_: self.again()).remove)
            yield
