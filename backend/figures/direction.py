"""How far apart the classes are at each layer: heat map and curves on four scales, and one review along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.direction import Result
from backend.figures.style import theme
from backend.stats.estimate import Estimate

Scale = Literal["raw", "unbiased", "relative", "separation"]
SCALES: tuple[Scale, ...] = ("raw", "unbiased", "relative", "separation")
_FIELDS = {
    "raw": "norm",
    "unbiased": "norm_unbiased",
    "relative": "relative",
    "separation": "separation",
}
UNITS = {
    "raw": "norm of the direction (residual units)",
    "unbiased": "unbiased norm (residual units)",
    "relative": "norm ÷ mean residual norm",
    "separation": "separation (within-class spreads)",
}


def values(result: Result, scale: Scale, direction: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The curve on that scale, its interval's low and high, and its chance level; each [layers]."""
    curve: Estimate[np.ndarray] = getattr(result, _FIELDS[scale])
    chance = np.full_like(curve.value, np.nan) if curve.chance is None else curve.chance
    return *(end[direction] for end in curve.ends), chance[direction]


def heatmap(results: Sequence[Result], names: Sequence[str], scale: Scale, direction: int = 0) -> go.Figure:
    """Checkpoint x layer; a ring marks the layer at which each checkpoint leaves chance for good."""
    names = theme.literals(names)
    matrix = np.stack([values(one, scale, direction)[0] for one in results])
    starts = [(one.leaves_chance[direction], i) for i, one in enumerate(results) if one.leaves_chance[direction] >= 0]
    traces: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "z": theme.cells(matrix),
            "y": list(names),
            "x": np.arange(matrix.shape[1]),
            "colorscale": theme.SEQUENTIAL,
            "zmin": 0,
            "xgap": 1,
            "ygap": 1,
            "hovertemplate": "%{y}, layer %{x}: %{z:.3g}<extra></extra>",
            "colorbar": {"thickness": 10, "len": 1, "outlinewidth": 0, "tickfont": {"size": 10}},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "leaves chance here",
            "x": [layer for layer, _ in starts],
            "y": [names[i] for _, i in starts],
            "marker": {"symbol": "circle-open", "size": 13, "color": theme.RING, "line": {"width": 2.5}},
            "hovertemplate": "%{y} leaves chance at layer %{x}<extra></extra>",
            "showlegend": True,
        },
    ]
    return theme.figure(
        traces,
        f"Checkpoint × layer: {UNITS[scale]}",
        height=130 + 34 * len(names),
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False, "type": "category"},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
    )


def curves(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    scale: Scale,
    direction: int = 0,
) -> go.Figure:
    """Curves with their 95 % interval as a band and the chance level dotted, one colour per checkpoint.

    `positions` are the checkpoints' places among the study's `count`, for their colours.
    """
    names = theme.literals(names)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        curve, low, high, chance = values(result, scale, direction)
        x = np.arange(len(curve))
        colour = theme.checkpoint_colour(position, count)
        traces += theme.band(x, low, high, colour)
        traces += [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": x,
                "y": curve.astype(np.float32),
                "customdata": np.stack([low, high, chance], axis=1).astype(np.float32),
                "line": {"color": colour, "width": 2.2},
                "marker": {"size": 6},
                "hovertemplate": "layer %{x}: %{y:.3g} (%{customdata[0]:.3g} to %{customdata[1]:.3g}), "
                "chance %{customdata[2]:.3g}<extra>" + name + "</extra>",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"chance, {name}",
                "x": x,
                "y": chance.astype(np.float32),
                "line": {"color": colour, "width": 1.6, "dash": "dot"},
                "hoverinfo": "skip",
            },
            *_start(result.leaves_chance[direction], curve, name),
        ]
    layers = results[0].norm.value.shape[1]
    return theme.figure(
        traces,
        f"By layer: {UNITS[scale]}",
        height=400,
        xaxis=theme.layer_axis(layers),
        yaxis=theme.axis(UNITS[scale], rangemode="tozero"),
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 40, "b": 80},
    )


def _start(layer: int, curve: np.ndarray, name: str) -> list[dict[str, Any]]:
    """A ring where the curve leaves chance."""
    if layer < 0:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [layer],
            "y": [float(curve[layer])],
            "marker": {"symbol": "circle-open", "size": 14, "color": theme.RING, "line": {"width": 2.5}},
            "hovertemplate": f"{name} leaves chance at layer {layer}<extra></extra>",
            "showlegend": False,
        }
    ]


def leaves_chance(results: Sequence[Result], names: Sequence[str], direction: int = 0) -> str:
    """In words, where each checkpoint leaves chance."""
    parts = [
        f"**{name}** " + (f"leaves chance at layer {at}" if at >= 0 else "never leaves chance for good")
        for name, at in ((name, one.leaves_chance[direction]) for one, name in zip(results, names, strict=True))
    ]
    return "; ".join(parts) + "."


def to_reference(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    reference: str,
    direction: int = 0,
) -> go.Figure:
    """Cosine of each checkpoint's direction with that of the reference: plain (dotted) and from split halves.

    The band is the 95 % interval of the latter.
    """
    names, reference = theme.literals(names), theme.literal(reference)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        split, low, high = (end[direction] for end in result.cosine_to_base_split.ends)
        x = np.arange(len(split))
        colour = theme.checkpoint_colour(position, count)
        traces += theme.band(x, low, high, colour)
        for label, y, line in (
            (f"{name}, split halves", split, {"color": colour, "width": 2.2}),
            (f"{name}, plain", result.cosine_to_base[direction], {"color": colour, "width": 1.4, "dash": "dot"}),
        ):
            hover = "layer %{x}: %{y:.3f}<extra>" + label + "</extra>"
            solid = "dash" not in line
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if solid else "lines",
                    "name": label,
                    "x": x,
                    "y": y.astype(np.float32),
                    "line": line,
                    "hovertemplate": hover,
                }
            )
    return theme.figure(
        traces,
        f"Cosine with the direction of {reference}",
        height=340,
        xaxis=theme.layer_axis(results[0].norm.value.shape[1]),
        yaxis=theme.axis("cosine", range=[-1.05, 1.05]),
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 40, "b": 80},
    )


def without_split(results: Sequence[Result], names: Sequence[str], reference: str, direction: int = 0) -> str | None:
    """In words, which checkpoints have no split-half cosine at any layer; None if all have one somewhere."""
    empty = [
        n for n, one in zip(names, results, strict=True) if np.isnan(one.cosine_to_base_split.value[direction]).all()
    ]
    if not empty:
        return None
    return (
        f"There is no split-half cosine at any layer for {', '.join(empty)}: wherever it could be measured, the "
        f"direction there or that of {reference} is within chance, and has none that could be compared."
    )


def review(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    words: Sequence[str],
    chosen: int,
    direction: int = 0,
) -> go.Figure:
    """Where one review stands along the direction at every layer: 0 and 1 are the means of the two classes.

    With more than two classes 1 is the mean of the direction's class and 0 the mean of the other class means.
    """
    names, words = theme.literals(names), theme.literals(words)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        raw = result.projections[chosen, direction]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": np.arange(len(raw)),
                "y": result.along(chosen, direction).astype(np.float32),
                "customdata": raw.astype(np.float32),
                "line": {"color": theme.checkpoint_colour(position, count), "width": 2.2},
                "hovertemplate": "layer %{x}: %{y:.2f} of the way, r·d/|d| = %{customdata:.3g}<extra>"
                + name
                + "</extra>",
            }
        )
    target = words[1] if len(words) == 2 else words[direction]
    rest = words[0] if len(words) == 2 else "the others"
    levels = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": y,
            "y1": y,
            "line": {"color": theme.QUIET, "dash": "dash"},
        }
        for y in (0, 1)
    ]
    return theme.figure(
        traces,
        f"This review along the direction: 0 = mean of {rest}, 1 = mean of {target}",
        height=320,
        shapes=levels,
        xaxis=theme.layer_axis(results[0].norm.value.shape[1]),
        yaxis=theme.axis("place between the class means"),
        legend={"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 40, "b": 70},
    )
