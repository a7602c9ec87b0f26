"""Reliability curves: the share of right answers over the confidence of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.calibration import MEASURES, Result
from backend.figures.style import theme


def reliability(
    results: Sequence[Result], names: Sequence[str], positions: Sequence[int], count: int, classes: int
) -> go.Figure:
    """Share of right answers by bin of confidence with its 95 % interval; on the diagonal confidence is earned.

    `positions` are the checkpoints' positions among the study's `count`, for their colours.
    """
    names = theme.literals(names)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        value, low, high = (100 * end for end in result.bin_accuracy.ends)
        colour = theme.checkpoint_colour(position, count)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": (100 * result.bin_confidence).astype(np.float32),
                "y": value.astype(np.float32),
                "error_y": {
                    "type": "data",
                    "array": high - value,
                    "arrayminus": value - low,
                    "thickness": 1.2,
                    "width": 3,
                },
                "customdata": np.column_stack([low, high, result.bin_n]).astype(np.float32),
                "line": {"color": colour, "width": 2.2},
                "marker": {"size": 7},
                "hovertemplate": "confidence %{x:.1f} %: right %{y:.1f} % (%{customdata[0]:.1f} to "
                "%{customdata[1]:.1f}), %{customdata[2]:.0f} reviews<extra>" + name + "</extra>",
            }
        )
    least = 100 / classes
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "as confident as right",
            "x": [least, 100],
            "y": [least, 100],
            "line": {"color": theme.QUIET, "width": 1.6, "dash": "dot"},
            "hoverinfo": "skip",
        }
    )
    return theme.figure(
        traces,
        "Right answers over confidence (%)",
        height=400,
        xaxis=theme.axis("mean confidence of the answers (%)", range=[least - 2, 102]),
        yaxis=theme.axis("right answers (%)", range=[-3, 103]),
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 40, "b": 90},
    )


def table(results: Sequence[Result], names: Sequence[str]) -> list[dict[str, str]]:
    """One row per checkpoint, every number with its 95 % interval; the last row is equal probabilities."""
    titles = {"brier": "Brier score", "confidence": "confidence (%)", "overconfidence": "overconfidence (points)"}
    rows: list[dict[str, str]] = []
    for result, name in zip(results, names, strict=True):
        row = {"checkpoint": name}
        for m, measure in enumerate(MEASURES):
            scale, digits = (1, 3) if measure == "brier" else (100, 1)
            value, low, high = (round(scale * float(end[m]), digits) + 0.0 for end in result.measures.ends)
            row[titles[measure]] = f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
        rows.append(row)
    guessing = {"checkpoint": "equal probabilities", titles["brier"]: f"{results[0].guessing:.3f}"} if results else {}
    return [*rows, guessing | dict.fromkeys([titles["confidence"], titles["overconfidence"]], "–")] if rows else []


def in_words(result: Result, name: str) -> str:
    """Whether the checkpoint is surer than it is right, in a sentence."""
    value, low, high = (100 * float(end[MEASURES.index("overconfidence")]) for end in result.measures.ends)
    if low <= 0 <= high:
        return f"**{name}** is as confident as it is right, within the interval ({low:+.1f} to {high:+.1f} points)."
    side = "overconfident" if value > 0 else "underconfident"
    least, most = sorted((abs(low), abs(high)))
    return f"**{name}** is {side} by {abs(value):.1f} points ({least:.1f} to {most:.1f})."
