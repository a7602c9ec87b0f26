"""Layer x step: how far each class direction is beyond chance, and when it, accuracies and CKA cross their levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.trajectory import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.step_axis import StepAxis
from backend.stats.crossings import Crossing

NOTHING = "–"
_CKA, _ACCURACY, _LAYER_ACCURACY = "#7a5cd6", "#9a5a00", "#00796b"
_RIM = "rgba(255,255,255,0.9)"
_TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_APART = 0.27
"""Marks of the direction are this far above the middle of their layer's row, those of CKA as far below."""


def guide(reference: str, level: float) -> Guide:
    """Return the guide of `draw`."""
    return Guide(
        "The length of each layer's class direction over its chance level, by checkpoint, and when four curves cross.",
        "Compare the bars, not the marks: between two checkpoints nothing was measured.",
        "A circle: from here on the direction is above chance. A triangle: from here on the nearest class mean "
        "classifies held-out texts better than chance. A diamond: from here on CKA with "
        f"{reference} is below {level:g}. A square above the layers: from here on the model's own answers are better "
        "than chance. A bar starts at the last checkpoint surely before the crossing. It ends at the first surely "
        "after it, by 95 % intervals. The chance levels of circle and triangle hold over all layers and checkpoints. "
        "Without signal, 5 % of studies exceed each anywhere. The level of CKA is a convention.",
    )


def draw(result: Result, axis: StepAxis, reference: str, level: float, direction: int = 0) -> go.Figure:
    """Draw a heat map of layer x checkpoint with the crossings of every layer, and above it that of the accuracy.

    Without classes the heat map shows 1 - CKA.
    """
    if not len(result.norm.value):
        return _likeness(result, axis, theme.literal(reference), level)
    strength = result.strength[direction]
    layers = len(strength)
    values = np.log2(np.maximum(strength, 1.0))
    most = max(1.0, float(np.nanmax(values, initial=0.0)))
    ticks = [times for times in _TICKS if times <= 2.0**most][-7:]
    y, reference = np.arange(layers), theme.literal(reference)
    traces: list[dict[str, Any]] = [
        drawing.heatmap(
            values,
            axis.edges,
            y,
            "%{text}<extra></extra>",
            theme.SEQUENTIAL,
            zmin=0,
            zmax=most,
            text=[
                [_hover(*cell, layer) for cell in zip(axis.names, row, accuracies, strict=True)]
                for layer, (row, accuracies) in enumerate(zip(strength, result.layer_accuracy.value, strict=True))
            ],
            colorbar=drawing.bar(len=1, tickvals=np.log2(ticks), ticktext=[f"{times:g} × chance" for times in ticks]),
        ),
        _marks(result.norm_leaves[direction], y + _APART, axis, "direction leaves chance", theme.RING, "circle"),
        _marks(
            result.layer_accuracy_leaves, y, axis, "accuracy of the layer leaves chance", _LAYER_ACCURACY, "triangle-up"
        ),
        _marks(result.cka_falls, y - _APART, axis, f"CKA with {reference} below {level:g}", _CKA, "diamond"),
        _marks(result.accuracy_leaves[None], np.array([layers]), axis, "the answers leave chance", _ACCURACY, "square"),
    ]
    return theme.figure(
        traces,
        "Layer × checkpoint: length of the class direction over chance",
        height=176 + 32 * layers,
        xaxis=axis.layout | {"showgrid": False, "ticks": "outside", "range": axis.edges[[0, -1]].tolist()},
        yaxis=theme.axis("layer", range=[-0.5, layers + 0.5], showgrid=False, **_names(layers)),
        legend=drawing.RIGHT | {"y": 1 + 0.8 / (layers + 1)},  # above the row of the answers
        margin={"l": 48, "r": 12, "t": 76, "b": 52},
    )


def _likeness(result: Result, axis: StepAxis, reference: str, level: float) -> go.Figure:
    """Draw CKA by layer and checkpoint, with the crossings of its level."""
    cka = result.cka.value
    layers = len(cka)
    y, tail = np.arange(layers), "<extra></extra>"
    return theme.figure(
        [
            drawing.heatmap(
                1 - cka, axis.edges, y, f"layer %{{y}}: 1 − CKA %{{z:.3f}}{tail}", theme.SEQUENTIAL, zmin=0, zmax=1
            ),
            _marks(result.cka_falls, y, axis, f"CKA with {reference} below {level:g}", _CKA, "diamond"),
        ],
        f"Layer × checkpoint: 1 − CKA with {reference}",
        height=176 + 26 * layers,
        xaxis=axis.layout | {"showgrid": False, "ticks": "outside", "range": axis.edges[[0, -1]].tolist()},
        yaxis=theme.axis("layer", range=[-0.5, layers - 0.5], showgrid=False),
        legend=drawing.RIGHT,
        margin={"l": 48, "r": 12, "t": 76, "b": 52},
    )


def _names(layers: int) -> dict[str, Any]:
    """Return ticks for the layers, and for the row above them."""
    named = [*range(0, layers, 1 if layers <= 16 else 4)]
    return {"tickmode": "array", "tickvals": [*named, layers], "ticktext": [*map(str, named), "answers"]}


def _hover(name: str, strength: float, accuracy: float, layer: int) -> str:
    if np.isnan(strength):
        return f"{name}, layer {layer}: no text"
    held_out = "" if np.isnan(accuracy) else f"<br>accuracy of the layer: {100 * accuracy:.0f} %"
    return f"{name}, layer {layer}: {strength:.3g} × chance{held_out}"


def _ends(crossing: Crossing, curve: int, axis: StepAxis) -> tuple[float, float]:
    """Return the ends of a crossing's bar; open ones reach the edge of the picture."""
    after, by = int(crossing.after[curve]), int(crossing.by[curve])
    left = axis.edges[0] if after < 0 else axis.x[after]
    return float(left), float(axis.x[by] if by < len(axis.x) else axis.edges[-1])


def _marks(
    crossing: Crossing, heights: np.ndarray, axis: StepAxis, name: str, colour: str, symbol: str
) -> dict[str, Any]:
    """Return a mark with a bar for every curve that crosses, each at its height."""
    there = np.flatnonzero((crossing.first >= 0) & (crossing.first < len(axis.x)))
    x = axis.x[crossing.first[there]]
    low, high = np.array([_ends(crossing, int(i), axis) for i in there]).reshape(-1, 2).T
    return drawing.points(
        x,
        heights[there],
        {"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1.5, "color": _RIM}},
        "%{text}",
        name,
        error_x=drawing.error_bars(x, low, high, thickness=2, color=colour),
        text=[said(crossing, (int(i),), axis.names) for i in there],
        showlegend=True,
    )


def said(crossing: Crossing, place: tuple[int, ...], names: Sequence[str]) -> str:
    """Return when a curve crosses, and between which checkpoints that is certain."""
    first, after, by = (int(end[place]) for end in (crossing.first, crossing.after, crossing.by))
    if first < 0:
        return NOTHING
    if first == len(names):
        perhaps = "from the start" if after < 0 else f"after {names[after]}"
        return "not yet" + (f"; perhaps {perhaps}" if after < len(names) - 1 else "")
    since = "perhaps from the start" if after < 0 else f"after {names[after]}"
    certain = f"by {names[by]}" if by < len(names) else f"not certain by {names[-1]}"
    if first == 0:
        return f"{names[0]} or before" + ("" if by == 0 else f" ({'certain ' if by < len(names) else ''}{certain})")
    return f"{names[first]} ({since}, {certain})"


def table(
    result: Result, names: Sequence[str], reference: str, level: float, direction: int = 0
) -> list[dict[str, str]]:
    """Return a row per layer with its crossings, and one for the model's own answers."""
    columns = "direction leaves chance", "accuracy leaves chance", f"CKA with {reference} falls below {level:g}"
    if not len(result.norm.value):
        falls = [said(result.cka_falls, (layer,), names) for layer in range(len(result.cka.value))]
        return [{"layer": str(layer), columns[2]: when} for layer, when in enumerate(falls)]
    textless = np.isnan(result.strength[direction]).all(axis=1)
    rows = [
        {
            "layer": str(layer),
            columns[0]: NOTHING if textless[layer] else said(result.norm_leaves, (direction, layer), names),
            columns[1]: said(result.layer_accuracy_leaves, (layer,), names),
            columns[2]: said(result.cka_falls, (layer,), names),
        }
        for layer in range(len(textless))
    ]
    answers = said(result.accuracy_leaves, (), names)
    return [*rows, {"layer": "answers", columns[0]: "", columns[1]: answers, columns[2]: ""}]
