"""Heat maps of cosines between class directions: from checkpoint to checkpoint, and from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.cosines import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

LAYERS_GUIDE = Guide(
    "Cosines between the class directions of a checkpoint's layers.",
    "Neighbouring layers share most of the residual stream, so expect a band along the diagonal.",
)


def between_layers(result: Result, position: int, name: str, direction: int = 0) -> go.Figure:
    """Layer x layer for the checkpoint at `position` of the query."""
    name = theme.literal(name)
    matrix = result.between_layers[direction, position]
    ticks = np.arange(len(matrix))
    axis = theme.layer_axis(len(matrix), showgrid=False)
    return theme.figure(
        [_heat(matrix, ticks, ticks, f"layers %{{x}} and %{{y}}: %{{z:.2f}}<extra>{name}</extra>")],
        f"{name}: cosine between layers",
        height=400,
        xaxis=axis | {"constrain": "domain"},
        yaxis=axis | {"scaleanchor": "x", "constrain": "domain", "autorange": "reversed", "range": None},
    )


CHECKPOINTS_GUIDE = Guide(
    "Cosines between the class directions of all checkpoints at one layer.",
    "Do not read them where the direction is within chance.",
    "These are plain cosines, inflated because all checkpoints read the same reviews.",
)


def between_checkpoints(result: Result, layer: int, names: Sequence[str], direction: int = 0) -> go.Figure:
    """Checkpoint x checkpoint at one layer, the numbers written into the cells."""
    names = theme.literals(names)
    matrix = result.between_checkpoints[direction, layer]
    heat = _heat(matrix, list(names), list(names), "%{x} and %{y}: %{z:.3f}<extra></extra>")
    heat["text"] = [["" if np.isnan(v) else f"{v:.2f}" for v in row] for row in matrix]
    heat["texttemplate"] = "%{text}"
    plain: dict[str, Any] = {"type": "category", "showgrid": False, "automargin": True, "constrain": "domain"}
    return theme.figure(
        [heat],
        f"Layer {layer}: cosine between checkpoints",
        height=140 + 52 * len(names),
        xaxis=plain,
        yaxis=plain | {"autorange": "reversed"},
    )


def _heat(matrix: np.ndarray, x: Any, y: Any, hover: str) -> dict[str, Any]:
    return drawing.heatmap(
        matrix, x, y, hover, theme.DIVERGING, zmin=-1, zmax=1, colorbar=drawing.bar(tickvals=[-1, 0, 1])
    )
