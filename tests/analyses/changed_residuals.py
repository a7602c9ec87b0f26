"""A reference and a checkpoint that keeps less of it with every layer."""

from __future__ import annotations

import numpy as np

LABELS = np.arange(24) % 2


def residuals(seed: int = 0, layers: int = 4, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A reference whose layer 0 holds no text, and a checkpoint that keeps less of it with every layer."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(24, layers, width))
    other = base + np.arange(layers)[:, None] * rng.normal(size=base.shape)
    base[:, 0] = base[0, 0]
    return other.astype(np.float32), base.astype(np.float32)
