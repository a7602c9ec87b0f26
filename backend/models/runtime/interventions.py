"""Apply a steering vector or an ablation to residuals, directly or by hooks on a running model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from backend.errors import CheckpointError
from backend.lab.outputs import Intervention, SteeringVectors
from backend.models.runtime.calls import Residuals
from backend.models.runtime.hooks import replacing
from backend.models.runtime.load import LoadedModel


def layers_of(intervention: Intervention) -> Sequence[int]:
    """Return the layers that the intervention changes."""
    return intervention.layers if isinstance(intervention, SteeringVectors) else range(len(intervention.mean))


def check(loaded: LoadedModel, plan: Sequence[Intervention]) -> None:
    """Raise CheckpointError for interventions at layers that the model does not have, or of another width."""
    last, width = len(loaded.components.blocks), loaded.model.config.hidden_size
    for intervention in plan:
        vectors = intervention.vectors if isinstance(intervention, SteeringVectors) else intervention.mean
        outside = [layer for layer in layers_of(intervention) if not 0 <= layer <= last]
        if outside or vectors.shape[-1] != width:
            raise CheckpointError(
                f"{loaded.model.config.name_or_path} has layers 0 to {last} of width {width}, and an intervention is "
                f"for {f'layer {outside[0]}' if outside else f'width {vectors.shape[-1]}'}; take directions from a "
                f"checkpoint of the same base."
            )


def act(
    loaded: LoadedModel,
    intervention: Intervention,
    layer: int,
    x: Residuals,
    places: Int64[Tensor, "#batch tokens"],
    readout: Int64[Tensor, " batch"],
) -> Residuals:
    """Return the residuals entering block `layer` after the intervention.

    `places` are the tokens' positions in their text.
    """
    if layer not in layers_of(intervention):
        return x
    places = places.to(x.device)
    if isinstance(intervention, SteeringVectors):
        added = sent(intervention.vectors[intervention.layers.index(layer)], x)
        if intervention.positions == "readout":
            added = added * (places == readout.to(x.device)[:, None])[..., None]
        return (x + added).to(x.dtype)
    unit, h = sent(intervention.unit, x), x.float()
    component = ((h - sent(intervention.mean[layer], x)) @ unit)[..., None] * unit
    if loaded.components.family.kind == "causal":
        component = component * (places > 0)[..., None]
    return (h - component).to(x.dtype)


def sent(values: np.ndarray, x: Tensor) -> Float[Tensor, "..."]:
    """Copy an array to the device of the residuals, as float32."""
    return torch.from_numpy(np.array(values, dtype=np.float32)).to(x.device)


@contextmanager
def intervening(
    loaded: LoadedModel, intervention: Intervention | None, readout: Int64[Tensor, " batch"], start: int = 0
) -> Iterator[None]:
    """Apply the intervention (None: none) to the residual stream in every forward pass of the model.

    `start` is the position of the pass's first token: the number of tokens that a key-value cache already holds.
    """

    def change(layer: int, x: Residuals) -> Residuals:
        places = torch.arange(start, start + x.shape[1], device=x.device)[None]
        return x if intervention is None else act(loaded, intervention, layer, x, places, readout)

    with ExitStack() as hooks:
        for layer in set() if intervention is None else set(layers_of(intervention)):
            hooks.enter_context(replacing(loaded.components, layer, partial(change, layer)))
        yield
