"""Tell whether anything has been put on a model since it was opened: hooks, replaced forwards or replaced modules."""

from __future__ import annotations

from torch import nn

Marks = tuple[tuple[int, ...], ...]


def marks(model: nn.Module) -> Marks:
    """Return for each module its identity, its hooks and the forward that it was given instead of its class's.

    Hooks of accelerate (`device_map`) replace forwards when a model opens, so compare with the marks of that moment.
    """
    return tuple(
        (id(module), *module._forward_pre_hooks, -1, *module._forward_hooks, -1, id(module.__dict__.get("forward")))
        for module in model.modules()
    )
