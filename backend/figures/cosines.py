"""Draw cosines of class directions: with the reference's, from checkpoint to checkpoint, and from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses import direction
from backend.analyses.cosines import Result
from backend.figures.style import drawing, following, theme
from backend.figures.style.guide import Guide


def reference_guide(reference: str) -> Guide:
    """Return the guide of `to_reference`."""
    return Guide(
        f"The cosine of each checkpoint's class direction with that of {reference}: 1 is the same, 0 is unrelated.",
        "Plain cosines are inflated, because all checkpoints read the same texts.",
        "The split-half curves are not inflated. They have gaps where a direction is within its noise.",
    )


def to_reference(
    results: Sequence[direction.Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    reference: str,
    at: int = 0,
) -> go.Figure:
    """Draw the cosine of each checkpoint's direction with the reference's: plain (dotted) and from split halves.

    The band is the 95 % interval of the latter.
    """
    names, reference = theme.literals(names), theme.literal(reference)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        split, plain = result.cosine_to_base_split[at].ends, result.cosine_to_base[at]
        x, hover = np.arange(len(plain)), "layer %{x}: %{y:.3f}"
        colour = theme.checkpoint_colour(position, count)
        traces += [
            *drawing.banded(x, split, f"{name}, split halves", drawing.stroke(colour), hover + drawing.LIMITS),
            drawing.line(x, plain, f"{name}, plain", drawing.stroke(colour, 1.4, "dot"), hover, mode="lines"),
        ]
    return theme.figure(
        traces,
        f"Cosine with the direction of {reference}",
        height=340,
        xaxis=theme.layer_axis(results[0].norm.value.shape[1]),
        yaxis=theme.axis("cosine", range=[-1.05, 1.05]),
        **drawing.below(),
    )


def without_split(results: Sequence[direction.Result], names: Sequence[str], reference: str, at: int = 0) -> str | None:
    """Name the checkpoints without a split-half cosine at any layer; None if every checkpoint has one."""
    empty = [
        n for n, result in zip(names, results, strict=True) if np.isnan(result.cosine_to_base_split.value[at]).all()
    ]
    if not empty:
        return None
    return (
        f"{', '.join(empty)}: no split-half cosine at any layer. The direction there, or the direction of "
        f"{reference}, is within chance everywhere."
    )


LAYERS_GUIDE = Guide(
    "Cosines between the class directions of a checkpoint's layers.",
    "Neighbouring layers share most of the residual stream, so expect a band along the diagonal.",
)


def between_layers(result: Result, position: int, names: Sequence[str], at: int = 0, moves: bool = False) -> go.Figure:
    """Layer x layer for the checkpoint at `position` of the query, whose checkpoints are `names`.

    If it `moves`, it holds the other checkpoints too, hidden, and shows them while an epoch is dragged.
    """
    shown = list(range(len(names))) if moves else [position]
    layers = result.between_layers.shape[-1]
    ticks, axis = np.arange(layers), theme.layer_axis(layers, showgrid=False)
    heats = {
        names[i]: _heat(
            result.between_layers[at, i],
            ticks,
            ticks,
            f"layers %{{x}} and %{{y}}: %{{z:.2f}}<extra>{theme.literal(names[i])}</extra>",
        )
        | ({"showscale": i == position} if moves else {})
        for i in shown
    }
    title = "{}: cosine between layers"
    follows = following.layout(names, {name: title.format(name) for name in names}) if moves else {}
    return theme.figure(
        [
            trace
            for name, heat in heats.items()
            for trace in (following.of_epoch([heat], name, names[position]) if moves else [heat])
        ],
        title.format(theme.literal(names[position])),
        height=400,
        xaxis=axis | {"constrain": "domain"},
        yaxis=axis | {"scaleanchor": "x", "constrain": "domain", "autorange": "reversed", "range": None},
        **follows,
    )


CHECKPOINTS_GUIDE = Guide(
    "Cosines between the class directions of all checkpoints at one layer.",
    "Do not read them where the direction is within chance.",
    "These are plain cosines, inflated because all checkpoints read the same texts.",
)


def between_checkpoints(result: Result, layer: int, names: Sequence[str], at: int = 0) -> go.Figure:
    """Checkpoint x checkpoint at one layer, the numbers written into the cells."""
    names = theme.literals(names)
    matrix = result.between_checkpoints[at, layer]
    heat = _heat(matrix, list(names), list(names), "%{x} and %{y}: %{z:.3f}<extra></extra>")
    written = [["" if np.isnan(v) else f"{v:.2f}" for v in row] for row in matrix]
    plain: dict[str, Any] = {"type": "category", "showgrid": False, "automargin": True, "constrain": "domain"}
    return theme.figure(
        [heat, *drawing.numbers(heat, written, -1.0, 1.0, theme.COSINE)],
        f"Layer {layer}: cosine between checkpoints",
        height=140 + 52 * len(names),
        xaxis=plain,
        yaxis=plain | {"autorange": "reversed"},
    )


def _heat(matrix: np.ndarray, x: Any, y: Any, hover: str) -> dict[str, Any]:
    return drawing.heatmap(
        matrix, x, y, hover, theme.COSINE, zmin=-1, zmax=1, colorbar=drawing.bar(tickvals=[-1, 0, 1])
    )
