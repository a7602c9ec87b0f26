"""Class directions as steering vectors and ablations, and directions of permuted labels to judge them against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from backend.lab.outputs import Ablation, SteeringVectors
from backend.stats import metrics
from backend.stats.metrics import Labels, Residuals
from backend.stats.resampling import permuted_labels

Positions = Literal["readout", "all"]
Scale = Literal["difference", "unit"]
Spot = tuple[int | None, int | None]
"""Whose layer's direction goes to which layer; None is each layer's own, and all layers at once."""
ALPHAS = (-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
COEFFICIENTS: dict[Scale, tuple[float, ...]] = {
    "difference": ALPHAS,
    "unit": (-64.0, -16.0, -4.0, -1.0, 0.0, 1.0, 4.0, 16.0, 64.0),
}
"""What the pages try, in class differences and in residual units."""
Directions = Float[np.ndarray, "layers width"]


def units(vectors: Float[np.ndarray, "*places width"]) -> Float[np.ndarray, "*places width"]:
    """The vectors at length 1; zeros stay zeros."""
    norms = np.sqrt(metrics.squared_norm(vectors))[..., None]
    return np.divide(vectors, norms, out=np.zeros_like(vectors, dtype=np.float64), where=norms > 0)


def scaled(
    d: Directions, spot: Spot, alpha: float, positions: Positions = "readout", scale: Scale = "difference"
) -> SteeringVectors:
    """alpha times the directions d[l], or (scale `unit`) times their unit vectors, added where the spot says."""
    source, target = spot
    layers = tuple(range(len(d))) if target is None else (target,)
    vectors = np.stack([d[layer if source is None else source] for layer in layers]).astype(np.float64)
    return SteeringVectors(
        layers, (alpha * (units(vectors) if scale == "unit" else vectors)).astype(np.float32), positions
    )


def ablation(d: Directions, layer: int, residuals: Residuals) -> Ablation:
    """The direction of one layer taken out everywhere, around the mean of a model's residuals at every layer."""
    return Ablation(units(d[layer]).astype(np.float32), residuals.mean(axis=0, dtype=np.float64).astype(np.float32))


def exists(d: Directions, spot: Spot) -> bool:
    """Whether there is a direction to put there: none where all reviews have the same residual."""
    return bool(np.any(d if spot[0] is None else d[spot[0]]))


def permuted_directions(
    residuals: Residuals, labels: Labels, classes: int, direction: int, permutations: int, seed: int
) -> Float[np.ndarray, "permutations layers width"]:
    """Directions of permuted labels, rescaled to the length of the real one: the null of a steering vector."""
    length = np.sqrt(metrics.squared_norm(metrics.directions(residuals, labels, classes)[direction]))
    permuted = permuted_labels(labels, permutations, seed)
    found = [units(metrics.directions(residuals, one, classes)[direction]) * length[:, None] for one in permuted]
    return np.stack(found) if found else np.empty((0, *residuals.shape[1:]))


def every_layer(layers: int) -> tuple[Spot, ...]:
    """Each layer's own direction put to that layer, 0..L."""
    return tuple((layer, layer) for layer in range(layers + 1))


def to_all(layers: int) -> tuple[Spot, ...]:
    """Each layer's direction put to all layers, 0..L."""
    return tuple((layer, None) for layer in range(layers + 1))


def middle(layers: int) -> int:
    """Where to look first: two thirds of the way up, behind which a direction has grown and not yet been read."""
    return round(2 * layers / 3)


def start(spots: Sequence[Spot], kind: str) -> list[int]:
    """The first layer at which something is done, for each spot."""
    return [0 if kind == "ablate" or at is None else at for _, at in spots]
