"""KL of steered predictions over the coefficient, beside directions of permuted labels, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.steered_predictions import Query, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "How much the next-token predictions on neutral sentences change when the direction is added, in nats per token.",
    "A large KL says that predictions change, not how: read what the models write.",
    "Grey lines are directions of permuted labels of equal length. A line among them does no more than any direction.",
)


def draw(results: Sequence[Result], queries: Sequence[Query], places: Sequence[int], count: int) -> go.Figure:
    """Draw KL over the coefficient for each model, above its permuted directions."""
    traces: list[dict[str, Any]] = []
    for result, query in zip(results, queries, strict=True):
        for i, line in enumerate(result.null):
            traces.append(
                drawing.line(
                    np.array(query.alphas),
                    line,
                    "permuted directions",
                    drawing.stroke(theme.QUIET, 1.0),
                    "permuted, α = %{x}: %{y:.3g} nats",
                )
                | {"showlegend": i == 0 and result is results[0], "legendgroup": "permuted"}
            )
    for result, query, place in zip(results, queries, places, strict=True):
        name, colour = theme.literal(query.checkpoint.label), theme.checkpoint_colour(place, count)
        value, bars = result.kl_from_plain.value, drawing.error_bars(*result.kl_from_plain.ends)
        line, hover = drawing.stroke(colour, 2), "α = %{x}: %{y:.3g} nats"
        traces.append(drawing.line(list(query.alphas), value, name, line, hover, error_y=bars))
    layer = queries[0].layer
    return theme.figure(
        traces,
        f"Direction of layer {layer} added there: KL of predictions (nats per token)",
        height=380,
        xaxis=theme.axis("coefficient α (class differences)"),
        yaxis=theme.axis("nats per token", rangemode="tozero"),
        **drawing.below(),
    )


def in_words(result: Result, query: Query, name: str) -> str:
    """Say whether the direction changes predictions more than permuted ones, at the largest coefficient."""
    a = int(np.argmax(query.alphas))
    value, low, high = (float(end[a]) for end in result.kl_from_plain.ends)
    if np.isnan(value):
        return f"All texts have the same residual there in {name}, so there is no direction to add."
    said = (
        f"At α = {query.alphas[a]:g} the predictions of {name} change by {value:.3f} nats per token ({low:.3f} to "
        f"{high:.3f})"
    )
    if not len(result.null):
        return f"{said}."
    null = result.null[:, a]
    return f"{said}; permuted directions of equal length change them by {null.min():.3f} to {null.max():.3f}."
