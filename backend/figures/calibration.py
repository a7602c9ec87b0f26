"""Reliability curves: the share of right answers over the confidence of the answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from backend.analyses.calibration import MEASURES, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "The share of right answers over the confidence of the answers, with 95 % intervals.",
    "Confidence is divided among the label words only, so a model that would say something else still looks sure.",
    "On the dotted line confidence is earned; below it a model is surer than it is right.",
)


def reliability(
    results: Sequence[Result], names: Sequence[str], positions: Sequence[int], count: int, classes: int
) -> go.Figure:
    """Draw the share of right answers by bin of confidence with its 95 % interval.

    `positions` are the checkpoints' positions among the study's `count`, for their colours.
    """
    names = theme.literals(names)
    traces = []
    for result, name, position in zip(results, names, positions, strict=True):
        value, low, high = (100 * end for end in result.bin_accuracy.ends)
        traces.append(
            drawing.line(
                (100 * result.bin_confidence).astype(np.float32),
                value,
                name,
                drawing.stroke(theme.checkpoint_colour(position, count)),
                "confidence %{x:.1f} %: right %{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f}), "
                "%{customdata[2]:.0f} texts",
                error_y=drawing.error_bars(value, low, high),
                customdata=drawing.ends(low, high, result.bin_n),
            )
        )
    ends = np.array([100 / classes, 100.0])
    earned = drawing.stroke(theme.QUIET, 1.6, "dot")
    traces.append(drawing.line(ends, ends, "as confident as right", earned, mode="lines"))
    return theme.figure(
        traces,
        "Right answers over confidence (%)",
        height=430,
        xaxis=theme.axis("mean confidence of the answers (%)", range=[ends[0] - 2, 102]),
        yaxis=theme.axis("right answers (%)", range=[-3, 103]),
        **drawing.below(),
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
