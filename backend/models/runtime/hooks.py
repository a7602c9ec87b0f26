"""Every hook on a loaded model; each is removed when its `with` block ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.models.runtime.calls import first
from backend.models.runtime.components import ModelComponents

Positions = Int64[Tensor, " batch"] | Float32[Tensor, "batch tokens"]
"""One position of every row, or the weight of every token in a mean over several."""


def at_positions(x: Float[Tensor, "batch tokens width"], positions: Positions) -> Float[Tensor, "batch width"]:
    """Return one position of every row, or the weighted mean over its tokens, in float32."""
    if positions.ndim == 2:
        return torch.einsum("bt,btw->bw", positions.to(x.device), x.float())
    return x[torch.arange(len(positions), device=x.device), positions.to(x.device)]


@contextmanager
def taps(components: ModelComponents, positions: Positions | None) -> Iterator[list[Tensor]]:
    """Collect the residuals at `positions` in every forward pass; the head reads only those positions.

    The list holds L+1 tensors `[batch, width]` after one pass: what enters each block, then what leaves the last; means
    for weights instead of positions.
    Without positions they are `[batch, tokens, width]`, and the head reads the last token.
    """
    residuals: list[Tensor] = []

    def gather(hidden: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch *tokens width"]:
        return hidden if positions is None else at_positions(hidden, positions)

    def entering(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        residuals.append(gather(args[0] if args else kwargs["hidden_states"]))

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        residuals.append(gather(first(output)))

    def only_readout(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        return (args[0][:, -1:] if positions is None else gather(args[0])[:, None].to(args[0].dtype),)

    with ExitStack() as hooks:
        for block in components.blocks:
            hooks.callback(block.whole.register_forward_pre_hook(entering, with_kwargs=True).remove)
        hooks.callback(components.blocks[-1].whole.register_forward_hook(leaving).remove)
        hooks.callback(components.unembed.register_forward_pre_hook(only_readout).remove)
        yield residuals


@contextmanager
def module_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the first argument of every call of the module."""
    inputs: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    try:
        yield inputs
    finally:
        hook.remove()


@contextmanager
def block_outputs(
    components: ModelComponents, positions: Int64[Tensor, " batch"]
) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Collect by block, at `positions`: the heads' outputs side by side (the input of `o`), and what the MLP adds."""
    heads: list[Tensor] = []
    mlps: list[Tensor] = []

    def entering(_module: nn.Module, args: tuple[Any, ...]) -> None:
        heads.append(at_positions(args[0], positions))

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        written = first(output)  # OPT's MLP reads the tokens of all prompts in one row
        mlps.append(at_positions(written.reshape(len(positions), -1, written.shape[-1]), positions))

    with ExitStack() as hooks:
        for block in components.blocks:
            last = block.ln2_post or (block.mlp[-1] if isinstance(block.mlp, nn.Sequential) else block.mlp)
            if block.o is not None and last is not None:
                hooks.callback(block.o.register_forward_pre_hook(entering).remove)
                hooks.callback(last.register_forward_hook(leaving).remove)
        yield heads, mlps


@contextmanager
def replacing(components: ModelComponents, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the residuals of a layer [batch, tokens, width] by what `change` returns for them, in every forward pass.

    Layers are numbered from 0 (entering block 0) to L (leaving the last block).
    """

    def entering(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return type(output)((change(output[0]), *output[1:])) if isinstance(output, tuple | list) else change(output)

    if layer < len(components.blocks):
        hook = components.blocks[layer].whole.register_forward_pre_hook(entering, with_kwargs=True)
    else:
        hook = components.blocks[-1].whole.register_forward_hook(leaving)
    try:
        yield
    finally:
        hook.remove()


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
        """Repeat the report before every block that runs."""
        with ExitStack() as hooks:
            for block in components.blocks:
                hooks.callback(block.whole.register_forward_pre_hook(lambda *_: self.again()).remove)
            yield
