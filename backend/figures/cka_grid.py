"""Layer x layer: how alike every layer of one checkpoint is to every layer of another."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from backend.analyses.cka_grid import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide


def elsewhere(result: Result) -> list[tuple[int, int]]:
    """Layers whose most similar layer is another one, by intervals that do not meet, and that layer."""
    there = np.flatnonzero(np.isfinite(result.cka.value).any(axis=1) & np.isfinite(np.diagonal(result.cka.value)))
    pairs = [(int(layer), int(np.nanargmax(result.cka.value[layer]))) for layer in there]
    return [(layer, other) for layer, other in pairs if result.cka.high[layer, layer] < result.cka.low[layer, other]]


GUIDE = Guide(
    "Debiased CKA of every pair of layers, for the two checkpoints of the sidebar.",
    "Neighbouring layers share most of the residual stream, so expect blocks along the diagonal.",
    "Compare with the grid of the reference with itself. "
    "A ring marks a row where another layer is clearly more similar than the same one.",
)


def draw(result: Result, name: str, reference: str) -> go.Figure:
    """Heat map of CKA, 0..1, with a mark in each row where another layer is clearly more alike than the same one."""
    name, reference = theme.literal(name), theme.literal(reference)
    pairs = elsewhere(result)
    heat = drawing.heatmap(
        result.cka.value,
        np.arange(result.cka.value.shape[1]),
        np.arange(result.cka.value.shape[0]),
        f"{name} layer %{{y}}, {reference} layer %{{x}}: %{{z:.3f}} "
        "(%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
        theme.SEQUENTIAL,
        customdata=np.stack([result.cka.low, result.cka.high], axis=2).astype(np.float32),
        zmin=0,
        zmax=1,
        colorbar=drawing.bar(tickvals=[0, 0.5, 1]),
    )
    marks = drawing.ring(
        [other for _, other in pairs],
        [layer for layer, _ in pairs],
        9,
        name="clearly more alike than the same layer",
        showlegend=bool(pairs),
    )
    layers, others = result.cka.value.shape
    return theme.figure(
        [heat, marks],
        f"CKA: layers of {name} with layers of {reference}",
        height=440,
        xaxis=theme.layer_axis(others, f"layer of {reference}", showgrid=False, constrain="domain"),
        yaxis=theme.layer_axis(layers, f"layer of {name}", showgrid=False, constrain="domain")
        | {"scaleanchor": "x", "range": [layers - 0.5, -0.5]},
        legend=drawing.RIGHT,
    )


def in_words(result: Result, name: str, reference: str) -> str:
    """How many layers are clearly most like another layer than that of the same number, and how far off that is."""
    off, there = elsewhere(result), int(np.isfinite(np.diagonal(result.cka.value)).sum())
    if not there:
        return f"No layer of **{name}** or **{reference}** holds text."
    if not off:
        return f"No layer of **{name}** is clearly more like another layer of **{reference}** than like the same one."
    layer, other = max(off, key=lambda pair: abs(pair[0] - pair[1]))
    return (
        f"{len(off)} of {there} layers of **{name}** are clearly more like another layer of **{reference}** than like "
        f"the same one; furthest off is layer {layer}, which is most like layer {other}."
    )
