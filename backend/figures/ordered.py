"""Rank correlation of the ordered label by layer: curves with interval and chance, and all checkpoints at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.ordered import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

CURVES_GUIDE = Guide(
    "Spearman correlation of the label with a held-out ridge regression on each layer, with 95 % intervals.",
    "Values below the dotted line may be chance, and a layer that holds the order need not use it.",
    "The regression uses five-fold cross-validation. "
    "Permuted values exceed the dotted line at some layer in 5 % of cases.",
)
LEAD_GUIDE = Guide(
    "How well each layer orders the texts by their label; a ring marks where a checkpoint stays above chance.",
    "The largest cell was picked by looking, so its value is too high.",
    "Spearman correlation of the label with a ridge regression on other texts. "
    "Layers where all texts are equal are empty.",
)


def curves(results: Sequence[Result], names: Sequence[str], positions: Sequence[int], count: int) -> go.Figure:
    """Correlation with its interval by layer, dotted chance; `positions` are places among the study's `count`."""
    traces: list[dict[str, Any]] = []
    x = np.arange(len(results[0].norm))
    for result, name, position in zip(results, theme.literals(names), positions, strict=True):
        colour = theme.checkpoint_colour(position, count)
        hover = "layer %{x}: %{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})"
        traces += drawing.banded(x, result.correlation.ends, name, drawing.stroke(colour), hover)
        level, dotted = result.correlation.chance, drawing.stroke(colour, 1.4, "dot")
        if level is None:
            continue
        traces.append(drawing.line(x, level, f"chance, {name}", dotted, mode="lines"))
    return theme.figure(
        traces,
        "Spearman correlation with the label",
        height=400,
        xaxis=theme.layer_axis(len(x)),
        yaxis=theme.axis("Spearman correlation", range=[_lowest(results), 1.03]),
        **drawing.below(),
    )


def _lowest(results: Sequence[Result]) -> float:
    low = np.concatenate([result.correlation.low for result in results])
    return min(-0.1, float(np.nanmin(low, initial=0.0)) - 0.03)


def heatmap(results: Sequence[Result], names: Sequence[str], row: int = 34) -> go.Figure:
    """Checkpoint x layer; a ring marks the first layer from which all later ones exceed chance.

    A click on a cell selects a point whose customdata is (checkpoint, layer). `row` is the height of a row in pixels.
    """
    names = theme.literals(names)
    matrix = np.stack([result.correlation.value for result in results])
    starts = [(first, i) for i, result in enumerate(results) if (first := result.leaves_chance) is not None]
    return theme.figure(
        drawing.by_checkpoint(matrix, names, starts, ".2f", zmax=1),
        "Spearman correlation with the label",
        height=130 + min(row * len(names), 420),
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
        legend=drawing.RIGHT,
    )


def in_words(result: Result, name: str) -> str:
    """Return the layer that orders the texts best, and from which layer on the order exceeds chance."""
    value = result.correlation.value
    if not np.isfinite(value).any():
        return f"At every layer of **{name}** all texts are equal, so there is no order."
    best, first = int(np.nanargmax(value)), result.leaves_chance
    since = "stays above chance at no layer" if first is None else f"exceeds chance from layer {first} on"
    low, high = float(result.correlation.low[best]), float(result.correlation.high[best])
    return (
        f"In **{name}** the order of the label {since}; the best layer is {best}, with a correlation of "
        f"{value[best]:.2f} ({low:.2f} to {high:.2f})."
    )
