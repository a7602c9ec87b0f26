"""The heatmaps of a picture, and their values side by side."""

from __future__ import annotations

from typing import Any

import numpy as np


def heats(picture: Any, scale: str) -> list[Any]:
    return [trace for trace in picture.data if trace.type == "heatmap" and trace.coloraxis == scale]


def matrix(traces: list[Any]) -> np.ndarray:
    """All lines side by side, [rows, tokens]."""
    return np.concatenate([np.array(trace.z, dtype=float) for trace in traces], axis=1)
