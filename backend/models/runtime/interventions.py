"""What a steering vector or an ablation does to residuals, by hand or by hooks on a model that runs as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from backend.errors import CheckpointError
from backend.lab.outputs import Intervention, SteeringVectors
from backend.models.runtime.blocks import Residuals
from backend.models.runtime.load import LoadedModel


def layers_of(one: Intervention) -> Sequence[int]:
    """The layers at which something is done."""
    return one.layers if isinstance(one, SteeringVectors) else range(len(one.mean))


def check(loaded: LoadedModel, plan: Sequence[Intervention]) -> None:
    """Raise CheckpointError for interventions at layers, or of a width, that the model has not."""
    last, width = len(loaded.components.blocks), loaded.model.config.hidden_size
    for one in plan:
        vectors = one.vectors if isinstance(one, SteeringVectors) else one.mean
        outside = [layer for layer in layers_of(one) if not 0 <= layer <= last]
        if outside or vectors.shape[-1] != width:
            raise CheckpointError(
                f"{loaded.model.config.name_or_path} has layers 0 to {last} of width {width}, and an intervention is "
                f"for {f'layer {outside[0]}' if outside else f'width {vectors.shape[-1]}'}; take directions from a "
                f"checkpoint of the same base."
            )


def act(
    loaded: LoadedModel,
    one: Intervention,
    layer: int,
    x: Residuals,
    places: Int64[Tensor, "#batch tokens"],
    readout: Int64[Tensor, " batch"],
) -> Residuals:
    """The residuals entering block `layer` after the intervention; `places` are the tokens' positions in their text."""
    if layer not in layers_of(one):
        return x
    places = places.to(x.device)
    if isinstance(one, SteeringVectors):
        added = sent(one.vectors[one.layers.index(layer)], x)
        if one.positions == "readout":
            added = added * (places == readout.to(x.device)[:, None])[..., None]
        return (x + added).to(x.dtype)
    unit, h = sent(one.unit, x), x.float()
    taken = ((h - sent(one.mean[layer], x)) @ unit)[..., None] * unit
    if loaded.components.family.kind == "causal":
        taken = taken * (places > 0)[..., None]
    return (h - taken).to(x.dtype)


def sent(values: np.ndarray, x: Tensor) -> Float[Tensor, "..."]:
    """An array as float32 where the residuals are."""
    return torch.from_numpy(np.array(values, dtype=np.float32)).to(x.device)


@contextmanager
def intervening(
    loaded: LoadedModel, one: Intervention | None, readout: Int64[Tensor, " batch"], start: int = 0
) -> Iterator[None]:
    """While open, every forward pass of the model has the intervention (None: none) done to its residual stream.

    `start` is the position of the first token of the pass, above 0 behind what a cache holds.
    """

    def after(layer: int, x: Residuals) -> Residuals:
        places = torch.arange(start, start + x.shape[1], device=x.device)[None]
        return x if one is None else act(loaded, one, layer, x, places, readout)

    def entering(layer: int) -> Any:
        def change(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            if args:
                return (after(layer, args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": after(layer, kwargs["hidden_states"])}

        return change

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (after(last, output[0]), *output[1:])
        return after(last, output)

    last, acts = len(loaded.components.blocks), () if one is None else layers_of(one)
    with ExitStack() as hooks:
        for layer, block in enumerate(loaded.components.blocks):
            if layer in acts:
                hooks.callback(block.whole.register_forward_pre_hook(entering(layer), with_kwargs=True).remove)
        if last in acts:
            hooks.callback(loaded.components.blocks[-1].whole.register_forward_hook(leaving).remove)
        yield
