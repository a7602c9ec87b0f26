"""Random points, as the scrubber takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.analyses.projection import Result
from backend.figures import projection

RANDOM = np.random.default_rng(0)


def points_of(classes: int, checkpoints: int = 3) -> dict[str, Any]:
    """Checkpoints with three layers, of which the first is empty, and thirty reviews."""
    labels = np.arange(30) % classes
    results = []
    for _ in range(checkpoints):
        xy = RANDOM.normal(size=(3, 30, 2)) + labels[:, None]
        xy[0] = np.nan
        arrow = np.ones((3, 1 if classes == 2 else classes, 2))
        arrow[0] = np.nan
        explained = np.full((3, 2), 0.25)
        explained[0] = np.nan
        results.append(Result(xy.astype(np.float32), explained, arrow))
    names, words = ["base", "epoch 1", "epoch 2"][:checkpoints], ["bad", "good", "mixed"][:classes]
    texts = [f"Review {i}" for i in range(30)]
    return projection.pack(results, names, names, labels, texts, list(range(30)), words)
