"""Layer x step: how far each class direction is beyond chance, and when it, accuracy and CKA cross their levels."""

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
_CKA, _ACCURACY = "#7a5cd6", "#9a5a00"
_RIM = "rgba(255,255,255,0.9)"
_TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_ABOVE, _BELOW = 0.17, -0.17
"""Where the marks of the direction and of CKA are within the row of their layer."""


def guide(reference: str, level: float) -> Guide:
    """Return the guide of `draw`."""
    return Guide(
        "The length of each layer's class direction over its chance level, by checkpoint, and when three curves cross.",
        "Compare the bars, not the marks: between two checkpoints nothing was measured.",
        f"A circle: from here on the direction is above chance. A diamond: from here on CKA with {reference} is below "
        f"{level:g}. A square above the layers: from here on the accuracy is above chance. A bar starts at the last "
        "checkpoint surely before the crossing. It ends at the first surely after it, by 95 % intervals. The chance "
        "level holds over all layers and checkpoints: without signal, 5 % of studies exceed it anywhere. The level of "
        "CKA is a convention.",
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
                [_hover(s, name, layer) for s, name in zip(row, axis.names, strict=True)]
                for layer, row in enumerate(strength)
            ],
            colorbar=drawing.bar(len=1, tickvals=np.log2(ticks), ticktext=[f"{times:g} × chance" for times in ticks]),
        ),
        _marks(result.norm_leaves[direction], y + _ABOVE, axis, "direction leaves chance", theme.RING, "circle"),
        _marks(result.cka_falls, y + _BELOW, axis, f"CKA with {reference} below {level:g}", _CKA, "diamond"),
        _marks(result.accuracy_leaves[None], np.array([layers]), axis, "accuracy leaves chance", _ACCURACY, "square"),
    ]
    return theme.figure(
        traces,
        "Layer × checkpoint: length of the class direction over chance",
        height=176 + 26 * layers,
        xaxis=axis.layout | {"showgrid": False, "ticks": "outside", "range": axis.edges[[0, -1]].tolist()},
        yaxis=theme.axis("layer", range=[-0.5, layers + 0.5], showgrid=False, **_names(layers)),
        legend=drawing.RIGHT,
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
    return {"tickmode": "array", "tickvals": [*named, layers], "ticktext": [*map(str, named), "accuracy"]}


def _hover(strength: float, name: str, layer: int) -> str:
    said = "no text" if np.isnan(strength) else f"{strength:.3g} × chance"
    return f"{name}, layer {layer}: {said}"


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
    ends = np.array([_ends(crossing, int(i), axis) for i in there]).reshape(-1, 2)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": x,
        "y": heights[there],
        "text": [said(crossing, (int(i),), axis.names) for i in there],
        "hovertemplate": f"%{{text}}<extra>{name}</extra>",
        "marker": {"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1.5, "color": _RIM}},
        "error_x": {"type": "data", "symmetric": False, "array": ends[:, 1] - x, "arrayminus": x - ends[:, 0]}
        | {"color": colour, "thickness": 2, "width": 3},
        "showlegend": True,
    }


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
    """Return a row per layer with its crossings, and one for the accuracy of the model's answers."""
    columns = "leaves chance", f"CKA with {reference} falls below {level:g}"
    if not len(result.norm.value):
        falls = [said(result.cka_falls, (layer,), names) for layer in range(len(result.cka.value))]
        return [{"layer": str(layer), columns[1]: when} for layer, when in enumerate(falls)]
    textless = np.isnan(result.strength[direction]).all(axis=1)
    rows = [
        {
            "layer": str(layer),
            columns[0]: NOTHING if textless[layer] else said(result.norm_leaves, (direction, layer), names),
            columns[1]: said(result.cka_falls, (layer,), names),
        }
        for layer in range(len(textless))
    ]
    return [*rows, {"layer": "accuracy", columns[0]: said(result.accuracy_leaves, (), names), columns[1]: ""}]
