"""Agreement of distances between reviews, layer by layer: rank correlation, and Gromov-Wasserstein."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.geometry import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "Whether texts that are far apart in one model are far apart in the other.",
    "The Gromov-Wasserstein distance is an upper bound, from the better of two starts.",
    "Rank correlation compares the ranks of all distances. "
    "Gromov-Wasserstein matches the texts as well as possible, whichever is which. "
    "It is a share of the distance without any matching.",
)
_HOVER = "layer %{x}: %{y:.3f}"


def rank_correlations(
    results: Sequence[Result], names: Sequence[str], positions: Sequence[int], count: int, reference: str
) -> go.Figure:
    """Spearman's correlation of distances with those in the reference, with 95 % intervals; chance dotted."""
    names, reference = theme.literals(names), theme.literal(reference)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        x, stroke = np.arange(len(result.unmatched)), drawing.stroke(theme.checkpoint_colour(position, count))
        traces += drawing.banded(x, result.rank_correlation.ends, name, stroke, _HOVER + drawing.LIMITS, {"size": 6})
    chance = results[-1].rank_correlation.chance
    if chance is not None:
        stroke, name = drawing.stroke(theme.QUIET, 1.6, "dot"), f"chance, {names[-1]}"
        traces.append(drawing.line(np.arange(len(chance)), chance, name, stroke, _HOVER, {"size": 6}, mode="lines"))
    return _figure(traces, f"Rank correlation of distances with {reference}'s", "Spearman's correlation", results)


def gromov_wasserstein(
    results: Sequence[Result], names: Sequence[str], positions: Sequence[int], count: int, reference: str
) -> go.Figure:
    """Gromov-Wasserstein distance over that of matching everyone with everyone: 0 = the same geometry."""
    names, reference = theme.literals(names), theme.literal(reference)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):
            share = result.gromov_wasserstein / result.unmatched
        stroke = drawing.stroke(theme.checkpoint_colour(position, count))
        traces.append(drawing.line(np.arange(len(share)), share, name, stroke, _HOVER, {"size": 6}))
    return _figure(traces, f"Gromov-Wasserstein distance to {reference}", "share of the unmatched distance", results)


def _figure(traces: list[dict[str, Any]], title: str, axis: str, results: Sequence[Result]) -> go.Figure:
    return theme.figure(
        traces,
        title,
        height=380,
        xaxis=theme.layer_axis(len(results[0].unmatched)),
        yaxis=theme.axis(axis, rangemode="tozero"),
        **drawing.below(),
    )
