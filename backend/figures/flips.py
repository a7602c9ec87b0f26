"""Reviews through a head, layer by layer: which flip where, and one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.probes import Reading, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

REVIEWS_GUIDE = Guide(
    "The word that the head reads for every text (row) at every layer (column).",
    "One colour over all rows is a bias of the head, not knowledge.",
    "Rows are sorted by class, then by the layer of the last flip. "
    "Faint cells are undecided. "
    "The squares on the right are the labels. Click one to see its text.",
)


def reviews(
    result: Result,
    labels: np.ndarray,
    texts: Sequence[str],
    words: Sequence[str],
    title: str,
    reading: Reading,
    selected: int | None = None,
) -> go.Figure:
    """Review x layer: what each is read as; by class, then by the layer of the last flip. Dots are the true classes.

    Two classes: the logit difference over the layer's root mean square, so that a faint cell is undecided; more: the
    answer.
    """
    words, title = theme.literals(words), theme.literal(title)
    place = result.place(*reading)
    order = np.lexsort((-result.logit_diff[place, -1, :, 0], result.settles(place), labels))
    answers = result.prediction[place][:, order].T  # [reviews, layers]
    layers = answers.shape[1]
    if len(words) == 2:
        logit_diff = result.logit_diff[place, :, order, 0].reshape(len(order), layers)
        size = np.sqrt(np.square(logit_diff).mean(axis=0))
        z = np.clip(np.divide(logit_diff, size, out=np.zeros_like(logit_diff), where=size > 0), -1, 1)
        scale, low, high = theme.DIVERGING, -1.0, 1.0
    else:
        z, low, high = answers.astype(float), -0.5, len(words) - 0.5
        edges = np.repeat(np.arange(len(words) + 1), 2)[1:-1] / len(words)
        colours = np.repeat([theme.class_colour(c, len(words)) for c in range(len(words))], 2)
        scale = [[float(edge), str(colour)] for edge, colour in zip(edges, colours, strict=True)]
    said = np.array(words, dtype=object)[answers]
    traces: list[dict[str, Any]] = [
        drawing.heatmap(
            z,
            np.arange(layers),
            np.arange(len(order)),
            "layer %{x}: read as %{customdata}<extra></extra>",
            scale,
            customdata=said,
            zmin=low,
            zmax=high,
            showscale=False,
            xgap=0,
            ygap=0,
        )
    ]
    for c, word in enumerate(words):
        at = np.flatnonzero(labels[order] == c)
        traces.append(
            drawing.points(
                np.full(len(at), layers - 0.1),
                at,
                {"color": theme.class_colour(c, len(words)), "symbol": "square", "size": 6},
                f"%{{text}}<extra>{word}</extra>",
                f"labelled {word}",
                customdata=order[at],
                text=[theme.shorten(texts[int(i)]) for i in order[at]],
            )
        )
    if selected is not None:
        row = int(np.flatnonzero(order == selected)[0])
        marker = {"symbol": "triangle-left", "size": 11, "color": theme.RING}
        traces.append(drawing.points([layers + 0.35], [row], marker, name="chosen text"))
    return theme.figure(
        traces,
        title,
        height=520,
        xaxis=theme.layer_axis(layers, showgrid=False)
        | {
            "range": [-0.6, layers + 0.7],
            "tickmode": "array",
            "tickvals": np.arange(0, layers, 1 if layers <= 16 else 4),
        },
        yaxis=theme.axis("reviews", showgrid=False, showticklabels=False, ticks="", autorange="reversed"),
        legend={"orientation": "h", "x": 0, "y": -0.12, "yanchor": "top"},
        margin={"l": 40, "r": 12, "t": 36, "b": 70},
    )


REVIEW_GUIDE = Guide(
    "The logit difference of this text by layer, over its root mean square.",
    "A curve that stays near zero says nothing.",
    "The answer flips where the curve crosses zero.",
)


def review(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    words: Sequence[str],
    reading: Reading,
    chosen: int,
    c: int = 0,
) -> go.Figure:
    """The logit difference of one review at every layer, over the layer's root mean square over all reviews."""
    names, words = theme.literals(names), theme.literals(words)
    traces: list[dict[str, Any]] = []
    for result, name, position in zip(results, names, positions, strict=True):
        logit_diff = result.logit_diff[result.place(*reading), :, :, min(c, result.logit_diff.shape[3] - 1)]
        size = np.sqrt(np.square(logit_diff).mean(axis=1))
        traces.append(
            drawing.line(
                np.arange(len(logit_diff)),
                np.divide(logit_diff[:, chosen], size, out=np.full(len(size), np.nan), where=size > 0),
                name,
                drawing.stroke(theme.checkpoint_colour(position, count)),
                "layer %{x}: logit difference %{customdata:+.3g}",
                customdata=logit_diff[:, chosen].astype(np.float32),
            )
        )
    towards = words[1] if len(words) == 2 else words[c]
    return theme.figure(
        traces,
        f"This text: above 0 it is read as {towards}",
        height=320,
        shapes=[drawing.level(0)],
        xaxis=theme.layer_axis(results[0].auc.value.shape[1]),
        yaxis=theme.axis("logit difference ÷ its root mean square"),
        **drawing.below(),
    )
