"""Draw how far apart the classes are at each layer, on four scales, and one review along their direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.direction import Result
from backend.figures.style import drawing, following, theme
from backend.figures.style.guide import Guide
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
    """Return the curve on that scale, its interval's low and high, and its chance level; each [layers]."""
    curve: Estimate[np.ndarray] = getattr(result, _FIELDS[scale])
    chance = np.full_like(curve.value, np.nan) if curve.chance is None else curve.chance
    return *(end[direction] for end in curve.ends), chance[direction]


_RINGS = (
    "A ring marks the layer from which a checkpoint stays above chance. "
    "Chance is what shuffled labels exceed at some layer in 5 % of cases."
)
GUIDES: dict[Scale, Guide] = {
    "raw": Guide(
        "The distance between the class means at every layer, as measured.",
        "It grows with the residual stream and with noise, so compare it only with chance.",
        _RINGS,
    ),
    "unbiased": Guide(
        "The distance between the class means, less what sampling noise adds.",
        "It grows with the residual stream, so do not compare layers by it.",
        _RINGS,
    ),
    "relative": Guide(
        "The distance between the class means over the mean length of the residuals.",
        "It still contains noise, so compare it with chance.",
        "This scale makes layers comparable. " + _RINGS,
    ),
    "separation": Guide(
        "The distance between the class means, in units of the spread within a class.",
        "A layer without a ring at or before it may be chance.",
        "This scale makes layers comparable. " + _RINGS,
    ),
}


def heatmap(
    results: Sequence[Result],
    names: Sequence[str],
    scale: Scale,
    direction: int = 0,
    chosen: tuple[int, int] | None = None,
    row: int = 34,
) -> go.Figure:
    """Draw checkpoint x layer; a ring marks the layer from which each checkpoint stays above chance.

    A click on a cell selects a point whose customdata is (checkpoint, layer). `chosen` is the cell to frame, `row` the
    height of a row in pixels.
    """
    labels, names = names, theme.literals(names)
    matrix = np.stack([values(result, scale, direction)[0] for result in results])
    starts = [
        (result.leaves_chance[direction], i) for i, result in enumerate(results) if result.leaves_chance[direction] >= 0
    ]
    traces = drawing.by_checkpoint(matrix, names, starts, ".3g")
    return theme.figure(
        traces,
        f"Checkpoint × layer: {UNITS[scale]}",
        height=130 + min(row * len(names), 420),
        shapes=_frames(labels, *chosen) if chosen else [],
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
        legend=drawing.RIGHT,
        **following.layout(labels),
    )


def _frames(labels: Sequence[str], row: int, layer: int) -> list[dict[str, Any]]:
    """Return a frame at the layer for every checkpoint, of which that of the chosen row is visible."""
    return following.shapes({label: drawing.frame(layer, i) for i, label in enumerate(labels)}, labels[row])


LEAD_GUIDE = Guide(
    "How far apart the classes are at each layer of each checkpoint; click a cell to open it.",
    "Cells before a ring may be chance.",
    "The distance between the class means, over the spread within the classes. It is corrected for the number of "
    "texts. The ring marks the layer from which a checkpoint stays above chance.",
)
CURVES_GUIDE = Guide(
    "The same distance for both models, with 95 % intervals; other checkpoints are faint.",
    "Values below the dotted line may be chance.",
    "Dragging an epoch highlights its curve. "
    "The dotted line is chance: shuffled labels exceed it at some layer in 5 % of cases.",
)


def curves(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    scale: Scale,
    direction: int = 0,
    ends: following.Ends = following.NONE,
) -> go.Figure:
    """Draw curves with their 95 % interval as a band and chance dotted, one colour per checkpoint.

    `positions` are the checkpoints' places among the study's `count`, for their colours. With `ends`, all other
    checkpoints are faint, without band and chance.
    """
    traces: list[dict[str, Any]] = []
    for result, label, position in zip(results, names, positions, strict=True):
        name = theme.literal(label)
        curve, low, high, chance = values(result, scale, direction)
        x = np.arange(len(curve))
        colour = theme.checkpoint_colour(position, count)
        *band, line = drawing.banded(
            x,
            (curve, low, high),
            name,
            drawing.stroke(colour),
            "layer %{x}: %{y:.3g}" + drawing.LIMITS + ", chance %{customdata[2]:.3g}",
            {"size": 6},
            customdata=drawing.ends(low, high, chance),
        )
        detail = [*band, drawing.dotted(x, chance, colour), *_start(result.leaves_chance[direction], curve, name)]
        traces += following.curve([line], detail, label, ends)
    traces.append(drawing.key("chance", "dot"))
    layers = results[0].norm.value.shape[1]
    return theme.figure(
        traces,
        f"By layer: {UNITS[scale]}",
        height=400,
        xaxis=theme.layer_axis(layers),
        yaxis=theme.axis(UNITS[scale], rangemode="tozero"),
        **drawing.below(),
        **following.layout(names),
    )


def _start(layer: int, curve: np.ndarray, name: str) -> list[dict[str, Any]]:
    """Return a ring where the curve leaves chance."""
    if layer < 0:
        return []
    return [
        drawing.ring(
            [layer],
            [float(curve[layer])],
            14,
            f"{name} leaves chance at layer {layer}<extra></extra>",
            showlegend=False,
        )
    ]


def leaves_chance(results: Sequence[Result], names: Sequence[str], direction: int = 0) -> str:
    """Say from which layer on each checkpoint's classes are further apart than chance; `names` are Markdown."""
    parts = [
        f"in **{name}** " + (f"from layer {at} on" if at >= 0 else "at no layer")
        for name, at in ((name, result.leaves_chance[direction]) for result, name in zip(results, names, strict=True))
    ]
    return f"The classes stay further apart than chance {', '.join(parts)}."


REVIEW_GUIDE = Guide(
    "The position of this text along the class direction, layer by layer.",
    "The curve means nothing where the direction is within chance.",
    "The text is part of the class means, so a small sample pulls it towards its own class.",
)


def review(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    words: Sequence[str],
    chosen: int,
    direction: int = 0,
    ends: following.Ends = following.NONE,
) -> go.Figure:
    """Draw the position of a review along the direction, layer by layer: 0 and 1 are the two class means.

    With more than two classes 1 is the mean of the direction's class and 0 the mean of the other class means.
    With `ends`, all other checkpoints are faint.
    """
    words = theme.literals(words)
    traces: list[dict[str, Any]] = []
    for result, label, position in zip(results, names, positions, strict=True):
        raw = result.projections[chosen, direction]
        line = drawing.line(
            np.arange(len(raw)),
            result.along(chosen, direction),
            theme.literal(label),
            drawing.stroke(theme.checkpoint_colour(position, count)),
            "layer %{x}: %{y:.2f} of the way, r·d/|d| = %{customdata:.3g}",
            customdata=raw.astype(np.float32),
        )
        traces += following.curve([line], [], label, ends)
    target = words[1] if len(words) == 2 else words[direction]
    rest = words[0] if len(words) == 2 else "the others"
    levels = [drawing.level(y, dash="dash") for y in (0, 1)]
    return theme.figure(
        traces,
        f"This text along the direction: 0 = mean of {rest}, 1 = mean of {target}",
        height=320,
        shapes=levels,
        xaxis=theme.layer_axis(results[0].norm.value.shape[1]),
        yaxis=theme.axis("place between the class means"),
        **drawing.below(),
        **following.layout(names),
    )
