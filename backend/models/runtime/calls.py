"""Record how a model calls its own blocks: what enters block 0, and the arguments of every block or attention.

Masks, rotary angles and every argument that only some layers get come from the model's own forward pass, so a block
that runs alone gets exactly what it gets there. Blocks do not run: each returns the residuals that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

if TYPE_CHECKING:
    from backend.models.runtime.load import LoadedModel

Residuals = Float[Tensor, "batch tokens width"]
STREAM = "hidden_states"
_CACHES = ("past_key_values", "past_key_value", "layer_past")


@dataclass(frozen=True)
class Call:
    """Arguments of one call besides the residuals, which come first, or by name if `by_name`.

    They belong to a batch of `rows` texts; a causal model's fit every text of the same length.
    """

    rest: tuple[Any, ...]
    named: dict[str, Any]
    by_name: bool
    rows: int

    @property
    def cache(self) -> str | None:
        """The name of the argument for a key-value cache; None without one."""
        return next((name for name in _CACHES if name in self.named), None)

    def with_cache(self, cache: Any) -> Call:
        """Return the call with a key-value cache."""
        return replace(self, named=self.named | {self.cache or _CACHES[0]: cache})

    def run(self, module: nn.Module, x: Residuals, batched: frozenset[str]) -> Any:
        """Call a module; `x` may hold several copies, stacked, of the batch that the arguments belong to."""
        copies = len(x) // self.rows

        def fit(value: Any, name: str) -> Any:
            if isinstance(value, tuple):
                return tuple(fit(item, f"{name}.{i}") for i, item in enumerate(value))
            if not isinstance(value, Tensor):
                return value
            if copies > 1 and name in batched:
                others = (1,) * (value.ndim - 1)
                value = value.repeat(copies, *others) if len(value) > 1 else value.expand(copies, *value.shape[1:])
            return value.to(x.device)

        rest = tuple(fit(value, str(i)) for i, value in enumerate(self.rest))
        named = {name: fit(value, name) for name, value in self.named.items()}
        return module(*rest, **{STREAM: x}, **named) if self.by_name else module(x, *rest, **named)


def tensors_of(call: Call) -> dict[str, Tensor]:
    """Return every tensor among the arguments by name, or by number."""

    def walk(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, tuple):
            for i, item in enumerate(value):
                yield from walk(item, f"{name}.{i}")

    arguments = [*((str(i), value) for i, value in enumerate(call.rest)), *call.named.items()]
    return {name: tensor for key, value in arguments for name, tensor in walk(value, key)}


class Entered(Exception):
    """Ends a forward pass once everything is recorded."""


def first(output: Any) -> Any:
    """Return the residuals that a module returns, alone or first of several."""
    return output[0] if isinstance(output, tuple | list) else output


def is_offloaded(loaded: LoadedModel) -> bool:
    """Return whether accelerate moves weights to the device for each call; only a whole pass moves them off again."""
    return any(hasattr(module, "_hf_hook") for module in loaded.model.modules())


def run_body(loaded: LoadedModel, ids: Int64[Tensor, "batch tokens"], inputs: dict[str, Tensor]) -> Any:
    """Return the body's output, without the head."""
    arguments: dict[str, Any] = inputs if loaded.components.family.kind == "encoder" else {"use_cache": False, **inputs}
    return loaded.components.body(input_ids=ids, **arguments)


@torch.inference_mode()
def record(
    loaded: LoadedModel,
    ids: Int64[Tensor, "batch tokens"],
    inputs: dict[str, Tensor],
    attention: bool,
    returns: int | None,
) -> tuple[Residuals, tuple[Call, ...]]:
    """Return the residuals entering block 0, and the call of every block, or of its attention.

    A block returns `returns` values, None for the residuals alone.
    """
    whole_pass = is_offloaded(loaded)
    blocks = loaded.components.blocks
    entering: list[Residuals] = []
    calls: list[Call] = []

    def passing(original: Callable[..., Any], last: bool) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            x = args[0] if args else kwargs[STREAM]
            if not entering:
                entering.append(x)
            if attention:
                with suppress(Entered):
                    original(*args, **kwargs)
            else:
                calls.append(_call(args, kwargs))
            if last and not whole_pass:
                raise Entered
            return x if returns is None else (x, *(None,) * (returns - 1))

        return forward

    def attending(original: Callable[..., Any], _last: bool) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            calls.append(_call(args, kwargs))
            if not whole_pass:
                raise Entered
            return original(*args, **kwargs)

        return forward

    with ExitStack() as replaced:
        for i, block in enumerate(blocks):
            replaced.enter_context(_forward(block.whole, passing, i == len(blocks) - 1))
            if attention and block.attn is not None:
                replaced.enter_context(_forward(block.attn, attending, False))
        with suppress(Entered):
            run_body(loaded, ids, inputs)
    return entering[0], tuple(calls)


def _call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    rest = tuple(args[1:])
    named = {name: value for name, value in kwargs.items() if name != STREAM}
    return Call(rest, named, not args, len(args[0] if args else kwargs[STREAM]))


@contextmanager
def _forward(
    module: nn.Module, around: Callable[[Callable[..., Any], bool], Callable[..., Any]], last: bool
) -> Iterator[None]:
    """Replace the module's forward for a while."""
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = around(module.forward, last)
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own
