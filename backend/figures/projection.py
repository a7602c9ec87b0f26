"""PCA small multiples: all panels tiled into one pair of axes, because a subplot per layer repaints too slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.projection import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

RADIUS = 0.024
"""Of a point, in widths of a panel."""
TURNS = 4
"""In how many turns each class draws its points."""
PANEL, WIDTH, FEWEST = 112, 450, 4
"""Pixels of a panel at most, and of half a page, which that many columns fill at least."""
PITCH = 1.2
"""Rows are further apart than panels are high: the panel's title stands between them."""


def guide(classes: int) -> Guide:
    """Return the guide; more than two classes have an arrow each."""
    arrows = "The arrow leads from one class mean to the other."
    if classes > 2:
        arrows = "Each arrow leads to a class mean from the mean of the other classes."
    return Guide(
        "The reviews at the readout position of every layer, on the first two principal components.",
        "Two axes of many can hide a separation, which the direction curves show.",
        f"Every panel is a layer and every point a review. {arrows} "
        "The title of a panel gives the share of variance on its x and y axis. "
        "Every panel has its own scale, so compare shapes, not sizes.",
    )


def draw(
    result: Result,
    labels: np.ndarray,
    texts: Sequence[str],
    words: Sequence[str],
    title: str,
    selected: int | None = None,
) -> go.Figure:
    """One panel per layer, x and y on one scale inside a panel, each panel on its own scale.

    `labels` are the classes of the reviews, `words` the label words; `selected` is the position of a review to ring.
    The arrow is the class direction as far as the two axes show it, across the middle of the class means. A layer that
    is the same for all reviews has an empty panel that says so.
    """
    words, title = theme.literals(words), theme.literal(title)
    layers = len(result.xy)
    columns = max(math.ceil(math.sqrt(layers)), min(FEWEST, layers))
    rows = math.ceil(layers / columns)
    corner = np.stack([np.arange(layers) % columns, -PITCH * (np.arange(layers) // columns)], axis=1).astype(np.float64)
    tiled, scale = _tile(result.xy.astype(np.float64), corner)
    shapes, traces = _points(tiled, labels, texts, words)
    return theme.figure(
        [
            *traces,
            *_arrows(tiled, labels, result.arrow * scale[:, None, None], words),
            *([] if selected is None else [_ring(tiled[:, selected])]),
            _names(corner, result.explained),
        ],
        title,
        height=round(min(PANEL, WIDTH / columns) * PITCH * rows) + 82,
        clickmode="event+select",
        margin={"l": 2, "r": 2, "t": 78, "b": 2},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.015,
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        xaxis={
            "visible": False,
            "range": [-0.52, columns - 0.48],
            "fixedrange": True,
            "constrain": "domain",
            "constraintoward": "left",
        },
        yaxis={
            "visible": False,
            "range": [-PITCH * (rows - 1) - 0.52, 0.72],
            "scaleanchor": "x",
            "fixedrange": True,
            "constrain": "domain",
            "constraintoward": "top",
        },
        shapes=[_boxes(corner), *shapes],
    )


def _tile(xy: np.ndarray, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points moved into their panels, and the factor by which each panel was scaled."""
    there = np.isfinite(xy).all(axis=(1, 2))
    low, high = xy.min(axis=1), xy.max(axis=1)
    extent = np.where(there, (high - low).max(axis=1), 1.0)
    scale = 0.9 / np.where(extent > 0, extent, 1.0)
    return (xy - (low + high)[:, None] / 2) * scale[:, None, None] + corner[:, None], scale


def _points(
    tiled: np.ndarray, labels: np.ndarray, texts: Sequence[str], words: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Per class: shapes that show the points of all panels, and a trace that answers hovering and clicks.

    An SVG element per point is what makes a browser slow, so the points are polygons of a few paths, which the classes
    draw by turns so that none covers another. The trace draws
    hardly any of its points (`maxdisplayed`), yet knows them all; its customdata is the position of the review.
    """
    there = np.flatnonzero(np.isfinite(tiled).all(axis=(1, 2)))
    short = np.array([theme.shorten(text) for text in texts], dtype=object)
    shapes: list[tuple[int, dict[str, Any]]] = []
    traces: list[dict[str, Any]] = []
    for c, word in enumerate(words):
        members = np.flatnonzero(labels == c)
        points = tiled[np.ix_(there, members)].reshape(-1, 2)
        colour, symbol = theme.class_colour(c, len(words)), theme.SYMBOLS[c % len(theme.SYMBOLS)]
        for turn in range(min(TURNS, len(members))):
            some = tiled[np.ix_(there, members[turn::TURNS])].reshape(-1, 2)
            shape = {
                "type": "path",
                "path": theme.outlines(some, symbol, RADIUS),
                "fillcolor": colour,
                "fillrule": "nonzero",
                "opacity": theme.POINTS,
                "line": {"width": 0},
                "layer": "below",
            }
            shapes.append((turn, shape))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": word,
                "x": points[:, 0].astype(np.float32),
                "y": points[:, 1].astype(np.float32),
                "customdata": np.tile(members, len(there)).astype(np.int32),
                "text": np.tile(short[members], len(there)),
                "hovertemplate": "%{text}<extra>" + word + "</extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 4.5, "opacity": theme.POINTS, "maxdisplayed": 1},
            }
        )
    return [shape for _, shape in sorted(shapes, key=lambda one: one[0])], traces


def _arrows(tiled: np.ndarray, labels: np.ndarray, arrow: np.ndarray, words: Sequence[str]) -> list[dict[str, Any]]:
    """One trace per direction: tail and head in every panel, the head turned along the line."""
    classes = range(len(words))
    means = np.stack([tiled[:, labels == c].mean(axis=1) for c in classes], axis=1)
    directions = arrow.shape[1]
    traces: list[dict[str, Any]] = []
    for d in range(directions):
        ends = arrow[:, d]
        tail = means.mean(axis=1) - ends / 2 if directions == 1 else means[:, d] - ends
        there = np.isfinite(tail).all(axis=1) & np.isfinite(ends).all(axis=1)
        gap = np.full_like(tail, np.nan)
        line = np.stack([tail, tail + ends, gap], axis=1)[there].reshape(-1, 2).astype(np.float32)
        colour = theme.direction_colour(d, directions)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": "direction" if directions == 1 else f"direction {words[d]}",
                "x": line[:, 0],
                "y": line[:, 1],
                "hoverinfo": "skip",
                "line": {"color": colour, "width": 2.5},
                "marker": {
                    "color": colour,
                    "symbol": "arrow",
                    "angleref": "previous",
                    "size": np.tile(np.array([0, 11, 0], dtype=np.int32), int(there.sum())),
                    "opacity": 1,
                },
                "showlegend": directions == 1,
            }
        )
    return traces


def _ring(points: np.ndarray) -> dict[str, Any]:
    """The chosen review in every panel."""
    there = points[np.isfinite(points).all(axis=1)].astype(np.float32)
    return drawing.ring(there[:, 0], there[:, 1], 13, name="chosen review")


def _boxes(corner: np.ndarray) -> dict[str, Any]:
    """The edges of all panels as one path."""
    low, high = corner - 0.48, corner + 0.48
    path = "".join(
        f"M{x0:.2f},{y0:.2f}H{x1:.2f}V{y1:.2f}H{x0:.2f}Z" for (x0, y0), (x1, y1) in zip(low, high, strict=True)
    )
    return {"type": "path", "path": path, "line": {"color": theme.FAINT, "width": 1}, "layer": "below"}


def _names(corner: np.ndarray, explained: np.ndarray) -> dict[str, Any]:
    """`4  31 + 12 %` above each panel; one trace, because the browser measures every annotation by itself."""
    words = [
        f"<b>{layer}</b>  " + ("no text" if np.isnan(share).any() else f"{100 * share[0]:.0f} + {100 * share[1]:.0f} %")
        for layer, share in enumerate(explained)
    ]
    return {
        "type": "scatter",
        "mode": "text",
        "x": corner[:, 0] - 0.52,
        "y": corner[:, 1] + 0.49,
        "text": words,
        "textposition": "top right",
        "textfont": {"size": 11},
        "hoverinfo": "skip",
        "showlegend": False,
        "cliponaxis": False,
    }
