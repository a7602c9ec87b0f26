"""PCA small multiples: a panel per layer, points that move from checkpoint to checkpoint (drawn by scrubber.js)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.analyses.projection import Result
from backend.figures.style import scrubber, theme
from backend.figures.style.guide import Guide

KEY = "pca"
TITLE = "The texts at every layer, on two principal components"


def guide(classes: int, ordered: bool = False) -> Guide:
    """Return the guide; more than two classes have an arrow each, an ordered label has colours instead."""
    arrows = "The arrow leads from one class mean to the other."
    if classes > 2:
        arrows = "Each arrow leads to a class mean from the mean of the other classes."
    if classes < 2:
        arrows = "Colours go from the lowest value of the label to the highest." if ordered else ""
    return Guide(
        "The texts at the readout position of every layer, on the first two principal components.",
        "Two axes of many can hide a separation, which the direction curves show.",
        f"Every panel is a layer and every point a text. {arrows}{' ' * bool(arrows)}"
        "The title of a panel gives the share of variance on its x and y axis. "
        "A layer has one scale for all checkpoints, so compare sizes along the epochs, not between layers. "
        "Drag the slider or play it: points move on straight lines from one checkpoint to the next. "
        "Places between two checkpoints are drawn, not measured. "
        "With its own axes for each checkpoint, movement is also that of the axes. "
        "Click a point to choose a text, and a panel to enlarge its layer.",
    )


def pack(
    results: Sequence[Result | None],
    names: Sequence[str],
    epochs: Sequence[str],
    labels: np.ndarray,
    texts: Sequence[str],
    index: Sequence[int],
    words: Sequence[str],
    values: Sequence[float] = (),
) -> dict[str, Any]:
    """Return what `scrubber.js` draws, for JSON: all checkpoints' positions at all layers, 4 bytes a point.

    `results` are those of the checkpoints `names`, None where one is still computed; `epochs` are the labels that are
    played, in order. `labels` are the classes of the reviews, `index` their source rows, `words` the label words.
    `values` of an ordered label give the colours instead of classes.
    """
    there = [place for place, result in enumerate(results) if result is not None]
    known = [result for result in results if result is not None]
    xy = np.stack([result.xy for result in known]).astype(np.float64)
    arrow = np.stack([result.arrow for result in known])
    centre, half = scrubber.scaled(xy)
    ends = _ends(xy, arrow, labels, len(words))
    directions = arrow.shape[2]
    classes, shown, scale = scrubber.classes(words), labels, ""
    if values:
        classes, shown = scrubber.value_classes(values)
        scale = f"{min(values):g} to {max(values):g}"
    return {
        "key": KEY,
        "title": TITLE,
        "shape": scrubber.shape(list(names), [one["word"] for one in classes], xy.shape[1:]),
        "layers": xy.shape[1],
        "names": list(names),
        "there": there,
        "plays": [names.index(label) for label in epochs],
        "classes": classes,
        "scale": scale,
        "directions": [
            {
                "colour": theme.direction_colour(d, directions),
                "distance": "distance of class means" if directions == 1 else f"{words[d]} from the others",
            }
            for d in range(directions)
        ],
        "labels": shown.tolist(),
        "index": list(index),
        "texts": [scrubber.begins(one) for one in texts],
        "xy": scrubber.text(scrubber.quantized(xy, centre, half)),
        "arrows": scrubber.text(scrubber.quantized(ends, centre, half)),
        "centre": _listed(centre, 6),
        "half": _listed(half, 6),
        "shares": [_listed(result.explained, 4) for result in known],
        "apart": [_listed(np.linalg.norm(result.arrow, axis=2), 6) for result in known],
    }


def _ends(
    xy: Float[np.ndarray, "checkpoints layers reviews 2"],
    arrow: Float[np.ndarray, "checkpoints layers directions 2"],
    labels: np.ndarray,
    classes: int,
) -> Float[np.ndarray, "checkpoints layers directions ends=2 2"]:
    """Return tail and head of every arrow; that of two classes lies across the middle of the class means."""
    means = np.stack([xy[:, :, labels == c].mean(axis=2) for c in range(classes)], axis=2)
    tail = means.mean(axis=2, keepdims=True) - arrow / 2 if arrow.shape[2] == 1 else means - arrow
    return np.stack([tail, tail + arrow], axis=3)


def _listed(values: np.ndarray, digits: int) -> list[Any]:
    """Return numbers as nested lists, rounded to significant digits, None where they are undefined."""
    if values.ndim > 1:
        return [_listed(one, digits) for one in values]
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.tolist()]
