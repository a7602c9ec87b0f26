"""Write a norm as numbers: centre or not, divide by a scale, multiply by a weight, add a bias."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from accelerate.utils.modeling import align_module_device
from jaxtyping import Float64
from torch import Tensor, nn

from backend.errors import UnsupportedError
from backend.models.runtime.load import LoadedModel

_EPSILONS = ("eps", "variance_epsilon", "norm_eps", "epsilon")
_SETTINGS = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps")
_USUAL = [1e-5, 1e-6, 0.0]  # where a norm keeps its epsilon to itself
_TRIED = 4


@dataclass(frozen=True, eq=False)
class LinearNorm:
    """A norm: (x - mean, if `centred`) / scale * weight + bias, with scale = sqrt(mean square + eps)."""

    centred: bool
    weight: Float64[np.ndarray, " width"]
    bias: Float64[np.ndarray, " width"] | None
    eps: float

    def scale(self, x: Float64[np.ndarray, "batch width"]) -> Float64[np.ndarray, " batch"]:
        """Return the divisor: the standard deviation over dimensions, or the root mean square."""
        return np.sqrt((x.var(axis=1) if self.centred else np.square(x).mean(axis=1)) + self.eps)

    def __call__(self, x: Float64[np.ndarray, "batch width"]) -> Float64[np.ndarray, "batch width"]:
        """Return the normed residuals."""
        moved = x - x.mean(axis=1, keepdims=True) if self.centred else x
        return moved / self.scale(x)[:, None] * self.weight + (0 if self.bias is None else self.bias)


@torch.inference_mode()
def linear_norm(norm: nn.Module, loaded: LoadedModel) -> LinearNorm:
    """Return the numbers of a norm, confirmed on a few vectors. Raises CheckpointError for a norm of another form."""
    width = int(loaded.model.config.hidden_size)
    x = np.random.default_rng(0).normal(0.5, 1, (_TRIED, width)) * np.array([[1e-2], [0.1], [1], [10]])
    given = torch.from_numpy(x).to(loaded.model.device, loaded.model.dtype)
    theirs = norm(given).to("cpu", torch.float64).numpy()
    x = given.to("cpu", torch.float64).numpy()
    stored, bias = weights_of(norm, np.ones(width))
    weights = (stored, 1 + stored, np.ones(width))
    slack = 1e-4 if loaded.model.dtype == torch.float32 else 0.02
    for centred, weight, eps in product(
        (isinstance(norm, nn.LayerNorm), True, False), weights, _epsilons(norm, loaded)
    ):
        found = LinearNorm(centred, weight, bias, eps)
        if np.abs(found(x) - theirs).max() <= slack * (1 + np.abs(theirs).max()):
            return found
    raise UnsupportedError(
        f"The final norm of {loaded.model.config.name_or_path} (a {type(norm).__name__}) cannot be written as a scale "
        f"and a weight, so its logits cannot be decomposed; swap or patch attention instead."
    )


def _epsilons(norm: Any, loaded: LoadedModel) -> list[float]:
    places = [(norm, name) for name in _EPSILONS] + [(loaded.model.config, name) for name in _SETTINGS]
    found = [getattr(place, name, None) for place, name in places]
    return [float(eps) for eps in found if isinstance(eps, int | float)] + _USUAL


def weights_of(
    module: nn.Module, missing: np.ndarray | None = None
) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, " outputs"] | None]:
    """Return weight and bias, loaded from where `device_map` moved them; `missing` for a module without a weight."""
    with align_module_device(module):
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, Tensor) and missing is None:
            raise UnsupportedError(
                f"{type(module).__name__} has no weight of its own, so its logits cannot be decomposed; name a "
                f"checkpoint of a supported architecture."
            )
        arrays = [
            tensor.detach().to("cpu", torch.float64).numpy() if isinstance(tensor, Tensor) else None
            for tensor in (weight, bias)
        ]
    return (missing if arrays[0] is None else arrays[0]), arrays[1]  # pyright: ignore[reportReturnType]
