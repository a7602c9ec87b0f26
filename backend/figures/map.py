"""One layer as a t-SNE or UMAP map of the reviews, classes in colour and shape, with its drift in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.map import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


GUIDE = Guide(
    "Neighbours on the map are mostly neighbours in the residual stream.",
    "Distances between groups, their sizes and their shapes mean nothing.",
    "Both maps start from the positions of the reference, so you can compare places.",
)


def draw(
    result: Result,
    labels: np.ndarray,
    texts: Sequence[str],
    words: Sequence[str],
    title: str,
    selected: int | None = None,
) -> go.Figure:
    """The map with equal axes and no ticks: its units and its rotation mean nothing. customdata names the review."""
    words, title = theme.literals(words), theme.literal(title)
    traces: list[dict[str, Any]] = []
    for c, word in enumerate(words):
        members = np.flatnonzero((labels == c) & np.isfinite(result.xy).all(axis=1))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": word,
                "x": result.xy[members, 0],
                "y": result.xy[members, 1],
                "customdata": members.astype(np.int32),
                "text": [theme.shorten(texts[i]) for i in members.tolist()],
                "hovertemplate": "%{text}<extra>" + word + "</extra>",
                "marker": {
                    "color": theme.class_colour(c, len(words)),
                    "symbol": theme.SYMBOLS[c % len(theme.SYMBOLS)],
                    "size": 7,
                    "opacity": theme.POINTS,
                },
            }
        )
    if selected is not None and np.isfinite(result.xy[selected]).all():
        traces.append(
            drawing.ring([float(result.xy[selected, 0])], [float(result.xy[selected, 1])], 17, name="chosen review")
        )
    bare = {"visible": False, "constrain": "domain", "fixedrange": True}
    return theme.figure(
        traces,
        title,
        height=440,
        clickmode="event+select",
        margin={"l": 6, "r": 6, "t": 62, "b": 6},
        xaxis=bare,
        yaxis=bare | {"scaleanchor": "x"},
    )


def in_words(result: Result, name: str, reference: str) -> str:
    """Drift against the noise floor, and how far the map can be trusted, in a sentence."""
    if not np.isfinite(result.drift):
        return f"**{name}**: this layer is the same for all reviews, so there is nothing to map."
    trust = f"trustworthiness {result.trustworthiness:.2f} (1: its neighbours are those in the residuals, 0.5: chance)"
    if name == reference:
        return f"**{name}**: the map that the others start from; {trust}."
    return (
        f"**{name}**: reviews moved by {result.drift:.2f} of the map's radius, noise floor {result.noise_floor:.2f} — "
        f"{verdict(result.drift, result.noise_floor)}; {trust}."
    )


def verdict(drift: float, noise_floor: float) -> str:
    """What a drift is worth beside the drift of two fits of the same checkpoint."""
    ratio = drift / noise_floor if noise_floor > 0 else np.inf
    return (
        "no more than two fits of the same checkpoint differ: do not read it"
        if ratio <= 1
        else "hardly more than two fits of the same checkpoint differ: read it with care"
        if ratio < 1.5
        else f"{ratio:.1f} times what two fits of the same checkpoint differ"
    )
