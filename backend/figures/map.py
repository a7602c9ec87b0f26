"""One layer as a t-SNE or UMAP map of the reviews, coloured by class or ordered value, with its drift in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.map import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


def guide(ordered: bool = False) -> Guide:
    """Return the guide; an ordered label has colours of its own."""
    colours = "Colours go from the lowest value of the label to the highest. " if ordered else ""
    return Guide(
        "Neighbours on the map are mostly neighbours in the residual stream.",
        "Distances between groups, their sizes and their shapes mean nothing.",
        f"{colours}Both maps start from the positions of the reference, so you can compare places.",
    )


def draw(
    result: Result,
    labels: np.ndarray,
    texts: Sequence[str],
    words: Sequence[str],
    title: str,
    selected: int | None = None,
    values: Sequence[float] = (),
) -> go.Figure:
    """The map with equal axes and no ticks: its units and its rotation mean nothing. customdata names the review.

    `values` of an ordered label give the colours instead of classes.
    """
    words, title = theme.literals(words), theme.literal(title)
    there = np.isfinite(result.xy).all(axis=1)
    if values:
        traces = [_by_value(result, np.flatnonzero(there), texts, np.asarray(values, dtype=np.float64))]
    else:
        traces = [
            _points(
                result,
                np.flatnonzero((labels == c) & there),
                texts,
                {"color": theme.class_colour(c, len(words)), "symbol": theme.SYMBOLS[c % len(theme.SYMBOLS)]},
                "%{text}",
                word,
            )
            for c, word in enumerate(words)
        ]
    if selected is not None and np.isfinite(result.xy[selected]).all():
        traces.append(
            drawing.ring([float(result.xy[selected, 0])], [float(result.xy[selected, 1])], 17, name="chosen text")
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


def _points(
    result: Result,
    members: np.ndarray,
    texts: Sequence[str],
    marker: dict[str, Any],
    hover: str,
    name: str | None = None,
) -> dict[str, Any]:
    """Return the points of some reviews."""
    return drawing.points(
        result.xy[members, 0],
        result.xy[members, 1],
        {"size": 7, "opacity": theme.POINTS} | marker,
        hover,
        name,
        customdata=members.astype(np.int32),
        text=[theme.shorten(texts[int(i)]) for i in members],
    )


def _by_value(result: Result, members: np.ndarray, texts: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    """Return the points of all reviews, coloured by an ordered label, with a colour bar."""
    scale = [[share, theme.value_colour(share)] for share in (0.0, 0.5, 1.0)]
    marker = {
        "color": values[members].astype(np.float32),
        "colorscale": scale,
        "cmin": float(values.min()),
        "cmax": float(values.max()),
        "colorbar": drawing.bar(),
    }
    return _points(result, members, texts, marker, "%{marker.color:.4g}: %{text}") | {"showlegend": False}


def in_words(result: Result, name: str, reference: str) -> str:
    """Drift against the noise floor, and how far the map can be trusted, in a sentence."""
    if not np.isfinite(result.drift):
        return f"**{name}**: this layer is the same for all texts, so there is nothing to map."
    trust = f"trustworthiness {result.trustworthiness:.2f} (1: its neighbours are those in the residuals, 0.5: chance)"
    if name == reference:
        return f"**{name}**: the map that the others start from; {trust}."
    return (
        f"**{name}**: texts moved by {result.drift:.2f} of the map's radius, noise floor {result.noise_floor:.2f} — "
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
