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
_CKA = "#5a3fc0"
_ABOVE, _BELOW = 0.17, -0.17
"""Where the marks of the direction and of CKA are within the row of their layer."""


def guide(reference: str, level: float) -> Guide:
    """Return the guide of `draw`."""
    return Guide(
        "The length of each layer's class direction over its chance level, by checkpoint, and when three curves cross.",
        "Bars are the checkpoints between which a crossing is: nothing was measured between two of them.",
        f"A ring: from here on the direction is above chance. A diamond: from here on CKA with {reference} is below "
        f"{level:g}. The line: from here on the accuracy is above chance. Bars reach from the last checkpoint surely "
        "before it to the first one surely after it, by the 95 % intervals. The chance level holds over all layers and "
        "checkpoints together: without signal, 5 % of studies exceed it anywhere. The level of CKA is a convention. "
        "A curve that falls back later crosses later, or not at all.",
    )


def draw(result: Result, axis: StepAxis, reference: str, level: float, direction: int = 0) -> go.Figure:
    """Draw a heat map of layer x checkpoint with the crossings of every layer, and that of the accuracy as a line."""
    strength = result.strength[direction]
    layers = len(strength)
    values = np.log2(np.maximum(strength, 1.0))
    most = max(1.0, float(np.nanmax(values, initial=0.0)))
    ticks = np.arange(0, most + 1e-9, max(1.0, np.ceil(most / 5)))
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
            colorbar=drawing.bar(len=1, tickvals=ticks, ticktext=[f"{2**tick:g} × chance" for tick in ticks]),
        ),
        *_accuracy(result.accuracy_leaves, axis, layers),
        _marks(result.norm_leaves, (direction,), y, _ABOVE, axis, "direction leaves chance", theme.RING, "circle"),
        _marks(result.cka_falls, (), y, _BELOW, axis, f"CKA with {reference} below {level:g}", _CKA, "diamond"),
    ]
    return theme.figure(
        traces,
        "Layer × checkpoint: length of the class direction over chance",
        height=150 + 26 * layers,
        xaxis=axis.layout | {"showgrid": False, "ticks": "outside", "range": axis.edges[[0, -1]].tolist()},
        yaxis=theme.layer_axis(layers, range=[-0.5, layers - 0.5], showgrid=False),
        legend=drawing.RIGHT,
        margin={"l": 48, "r": 12, "t": 76, "b": 52},
    )


def _hover(strength: float, name: str, layer: int) -> str:
    said = "no text" if np.isnan(strength) else f"{strength:.3g} × chance"
    return f"{name}, layer {layer}: {said}"


def _ends(crossing: Crossing, place: tuple[int, ...], axis: StepAxis) -> tuple[float, float]:
    """Return the ends of a crossing's bar; open ones reach the edge of the picture."""
    after, by = int(crossing.after[place]), int(crossing.by[place])
    left = axis.edges[0] if after < 0 else axis.x[after]
    return float(left), float(axis.x[by] if by < len(axis.x) else axis.edges[-1])


def _marks(
    crossing: Crossing,
    first: tuple[int, ...],
    y: np.ndarray,
    shift: float,
    axis: StepAxis,
    name: str,
    colour: str,
    symbol: str,
) -> dict[str, Any]:
    """Return a mark with a bar in every layer that crosses; the place of a layer's crossing starts with `first`."""
    there = [layer for layer in y.tolist() if 0 <= crossing.first[(*first, layer)] < len(axis.x)]
    x = np.array([axis.x[crossing.first[(*first, layer)]] for layer in there])
    ends = np.array([_ends(crossing, (*first, layer), axis) for layer in there]).reshape(-1, 2)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": x,
        "y": np.array(there) + shift,
        "text": [f"layer {layer}: {said(crossing, (*first, layer), axis.names)}" for layer in there],
        "hovertemplate": f"%{{text}}<extra>{name}</extra>",
        "marker": {"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1.5, "color": "#ffffff"}},
        "error_x": {"type": "data", "symmetric": False, "array": ends[:, 1] - x, "arrayminus": x - ends[:, 0]}
        | {"color": colour, "thickness": 2, "width": 3},
        "showlegend": True,
    }


def _accuracy(crossing: Crossing, axis: StepAxis, layers: int) -> list[dict[str, Any]]:
    """Return a vertical line where the accuracy leaves chance, with its bar as a band; nothing if it does not."""
    first = int(crossing.first)
    if not 0 <= first < len(axis.x):
        return []
    x, (left, right) = float(axis.x[first]), _ends(crossing, (), axis)
    top = layers - 0.5
    text = f"accuracy leaves chance: {said(crossing, (), axis.names)}"
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [left, right, right, left],
        "y": [-0.5, -0.5, top, top],
        "fill": "toself",
        "fillcolor": theme.veil(theme.QUIET, 0.2),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    line = drawing.line(
        [x] * layers,
        np.arange(layers) * (layers / max(1, layers - 1)) - 0.5,
        "accuracy leaves chance",
        drawing.stroke(theme.QUIET, 2.4, "dash"),
        "%{text}",
        mode="lines",
        text=[text] * layers,
    )
    return [band, line]


def said(crossing: Crossing, place: tuple[int, ...], names: Sequence[str]) -> str:
    """Return when a curve crosses, and between which checkpoints that is certain."""
    first, after, by = (int(end[place]) for end in (crossing.first, crossing.after, crossing.by))
    if first < 0:
        return NOTHING
    if first == len(names):
        return "not yet" + (f"; perhaps after {names[after]}" if 0 <= after < len(names) - 1 else "")
    since = "perhaps before" if after < 0 else f"after {names[after]}"
    certain = f"by {names[by]}" if by < len(names) else f"not certain by {names[-1]}"
    if first == 0:
        return f"{names[0]} or before" + ("" if by == 0 else f" ({certain})")
    return f"{names[first]} ({since}, {certain})"


def table(
    result: Result, names: Sequence[str], reference: str, level: float, direction: int = 0
) -> list[dict[str, str]]:
    """Return a row per layer with its crossings, and one for the model's answers."""
    columns = ("direction leaves chance", f"CKA with {reference} falls below {level:g}", "accuracy leaves chance")
    layers = result.norm.value.shape[1]
    rows = [
        {
            "layer": str(layer),
            columns[0]: NOTHING
            if np.isnan(result.strength[direction, layer]).all()
            else said(result.norm_leaves, (direction, layer), names),
            columns[1]: said(result.cka_falls, (layer,), names),
            columns[2]: "",
        }
        for layer in range(layers)
    ]
    answers = {columns[0]: "", columns[1]: "", columns[2]: said(result.accuracy_leaves, (), names)}
    return [*rows, {"layer": "the model's answers", **answers}]
