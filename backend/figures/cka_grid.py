"""Layer x layer: how alike every layer of one checkpoint is to every layer of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.cka_grid import Result
from backend.figures import _theme


def best(result: Result) -> list[tuple[int, int]]:
    """Each layer of the checkpoint (rows) and the layer of the reference that is most like it."""
    there = np.flatnonzero(np.isfinite(result.cka).any(axis=1))
    return [(int(layer), int(np.nanargmax(result.cka[layer]))) for layer in there]


def draw(result: Result, name: str, reference: str) -> go.Figure:
    """Heat map of CKA, 0..1, with a mark at the most similar layer of every row."""
    pairs = best(result)
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": _theme.cells(result.cka),
        "x": np.arange(result.cka.shape[1]),
        "y": np.arange(result.cka.shape[0]),
        "customdata": np.stack([result.cka_low, result.cka_high], axis=2).astype(np.float32),
        "zmin": 0,
        "zmax": 1,
        "colorscale": _theme.SEQUENTIAL,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": f"{name} layer %{{y}}, {reference} layer %{{x}}: %{{z:.3f}} "
        "(%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.5, 1], "tickfont": {"size": 10}},
    }
    marks: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": "most alike in its row",
        "x": [other for _, other in pairs],
        "y": [layer for layer, _ in pairs],
        "marker": {"symbol": "circle-open", "size": 9, "color": _theme.RING, "line": {"width": 2}},
        "hoverinfo": "skip",
        "showlegend": True,
    }
    layers, others = result.cka.shape
    return _theme.figure(
        [heat, marks],
        f"CKA of every layer of {name} with every layer of {reference}",
        height=520,
        xaxis=_theme.layer_axis(others, f"layer of {reference}", showgrid=False, constrain="domain"),
        yaxis=_theme.layer_axis(layers, f"layer of {name}", showgrid=False, constrain="domain")
        | {"scaleanchor": "x", "range": [layers - 0.5, -0.5]},
        legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 40, "b": 80},
    )


def in_words(result: Result, name: str, reference: str) -> str:
    """How many layers are most like the layer of the same number, and how far the others are off."""
    pairs = best(result)
    off = [(layer, other) for layer, other in pairs if layer != other]
    if not pairs:
        return f"No layer of **{name}** or **{reference}** holds text."
    said = (
        f"{len(pairs) - len(off)} of {len(pairs)} layers of **{name}** are most like the same layer of **{reference}**"
    )
    if not off:
        return f"{said}."
    layer, other = max(off, key=lambda pair: abs(pair[0] - pair[1]))
    return f"{said}; furthest off is layer {layer}, which is most like layer {other}."
