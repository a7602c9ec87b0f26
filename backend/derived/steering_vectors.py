"""Turn class directions into steering vectors and ablations, with directions of permuted labels as their null."""

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
"""Source layer of the direction (None: each layer's own), and target layer that it is added to (None: all layers)."""
ALPHAS = (-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
COEFFICIENTS: dict[Scale, tuple[float, ...]] = {
    "difference": ALPHAS,
    "unit": (-64.0, -16.0, -4.0, -1.0, 0.0, 1.0, 4.0, 16.0, 64.0),
}
"""Coefficients on the pages, in class differences and in residual units."""
Directions = Float[np.ndarray, "layers width"]


def units(vectors: Float[np.ndarray, "*places width"]) -> Float[np.ndarray, "*places width"]:
    """Scale the vectors to length 1; zeros stay zeros."""
    norms = np.sqrt(metrics.squared_norm(vectors))[..., None]
    return np.divide(vectors, norms, out=np.zeros_like(vectors, dtype=np.float64), where=norms > 0)


def scaled(
    d: Directions, spot: Spot, alpha: float, positions: Positions = "readout", scale: Scale = "difference"
) -> SteeringVectors:
    """Return alpha times the directions d[l], or (scale `unit`) times their unit vectors, for the spot's layers."""
    source, target = spot
    layers = tuple(range(len(d))) if target is None else (target,)
    vectors = np.stack([d[layer if source is None else source] for layer in layers]).astype(np.float64)
    return SteeringVectors(
        layers, (alpha * (units(vectors) if scale == "unit" else vectors)).astype(np.float32), positions
    )


def ablation(d: Directions, layer: int, residuals: Residuals) -> Ablation:
    """Return the ablation of one layer's direction at every layer, around the mean of a model's residuals there."""
    return Ablation(units(d[layer]).astype(np.float32), residuals.mean(axis=0, dtype=np.float64).astype(np.float32))


def exists(d: Directions, spot: Spot) -> bool:
    """Return whether the direction is non-zero; it is zero if all reviews have the same residual."""
    return bool(np.any(d if spot[0] is None else d[spot[0]]))


def permuted_directions(
    residuals: Residuals, labels: Labels, classes: int, direction: int, permutations: int, seed: int
) -> Float[np.ndarray, "permutations layers width"]:
    """Return directions of permuted labels, rescaled to the length of the real one: the null of a steering vector."""
    length = np.sqrt(metrics.squared_norm(metrics.directions(residuals, labels, classes)[direction]))
    permuted = permuted_labels(labels, permutations, seed)
    directions = [
        units(metrics.directions(residuals, permutation, classes)[direction]) * length[:, None]
        for permutation in permuted
    ]
    return np.stack(directions) if directions else np.empty((0, *residuals.shape[1:]))


def every_layer(layers: int) -> tuple[Spot, ...]:
    """Return the spots that add each layer's own direction at that layer, 0..L."""
    return tuple((layer, layer) for layer in range(layers + 1))


def to_all(layers: int) -> tuple[Spot, ...]:
    """Return the spots that add each layer's direction at all layers, 0..L."""
    return tuple((layer, None) for layer in range(layers + 1))


def middle(layers: int) -> int:
    """Return the default layer: at two thirds of the depth a direction has grown and is not yet read by the head."""
    return round(2 * layers / 3)


def start(spots: Sequence[Spot], kind: str) -> list[int]:
    """Return the first layer that each spot changes."""
    return [0 if kind == "ablate" or target is None else target for _, target in spots]
