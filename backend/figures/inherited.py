"""Blocks by where their change comes from: shares with intervals, and how large the change is."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.inherited import PARTS, SCOPES, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

COLOURS = {"own": theme.checkpoint_colour(2, 3), "inherited": theme.QUIET, "interaction": theme.MANY[6]}
SYMBOLS = {"own": "circle", "inherited": "square", "interaction": "diamond"}
SAID = {"own": "own weights", "inherited": "inherited input", "interaction": "both together"}
SCOPE_NAMES = {"change": "the whole change", "differences": "what differs between texts"}


GUIDE = Guide(
    "What changed in each block's output at the readout position, divided by its cause.",
    "Shares mean little where the change itself is small.",
    "Own weights: the new weights on the old residuals. "
    "Inherited input: the old weights on the new residuals. "
    "Both together: the rest. Shares sum to 100 % and can be negative.",
)


def shares(result: Result, title: str, scope: str) -> go.Figure:
    """The three shares of every block, which sum to 100 %, with 95 % intervals."""
    title = theme.literal(title)
    s = SCOPES.index(scope)
    traces: list[dict[str, Any]] = []
    for i, name in enumerate(PARTS):
        value, low, high = (100 * end[s] for end in getattr(result, f"{name}_share").ends)
        bars = {"error_y": drawing.error_bars(value, low, high), "customdata": drawing.ends(low, high)}
        hover = "%{y:.0f} % (%{customdata[0]:.0f} to %{customdata[1]:.0f})"
        traces.append(_line(value, SAID[name], name, hover, 0.08 * (i - 1)) | bars)
    levels = [drawing.level(y, width=1) for y in (0, 100)]
    return _figure(traces, f"{title}: share of {SCOPE_NAMES[scope]} (%)", "share (%)", result, levels)


def norms(result: Result, title: str, scope: str) -> go.Figure:
    """Root mean square norm of the change of every block's update, and of its parts."""
    title = theme.literal(title)
    s = SCOPES.index(scope)
    whole = _line(result.total[s], "the change", None, "%{y:.3g}")
    parts = [_line(getattr(result, name)[s], SAID[name], name, "%{y:.3g}") for name in PARTS]
    return _figure([whole, *parts], f"{title}: size of {SCOPE_NAMES[scope]}", "l2 norm (residual units)", result, [])


def _line(y: np.ndarray, label: str, part: str | None, hover: str, aside: float = 0) -> dict[str, Any]:
    line = drawing.stroke(COLOURS[part], 1.8) if part else drawing.stroke(theme.QUIET, 2.6)
    marker = {"size": 7, "symbol": SYMBOLS[part] if part else "star"}
    return drawing.line(np.arange(len(y)) + aside, y, label, line, f"block %{{x:.0f}}: {hover}", marker)


def _figure(
    traces: list[dict[str, Any]], title: str, axis: str, result: Result, shapes: list[dict[str, Any]]
) -> go.Figure:
    return theme.figure(
        traces,
        title,
        height=380,
        shapes=shapes,
        xaxis=theme.layer_axis(result.total.shape[1], "block"),
        yaxis=theme.axis(axis, **({} if shapes else {"rangemode": "tozero"})),
        **drawing.below(),
    )


def in_words(result: Result, name: str, reference: str, scope: str) -> str:
    """Over all blocks: the parts' projections, summed and set against the whole change."""
    s = SCOPES.index(scope)
    size = np.square(result.total[s])
    whole = [float((getattr(result, f"{part}_share").value[s] * size).sum() / size.sum()) for part in PARTS]
    return (
        f"Of {SCOPE_NAMES[scope]} in what **{name}**'s blocks write, against **{reference}**'s, {100 * whole[0]:.0f} % "
        f"is their own weights', {100 * whole[1]:.0f} % inherited, {100 * whole[2]:.0f} % both together."
    )
