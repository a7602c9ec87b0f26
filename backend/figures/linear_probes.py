"""What a linear probe finds at each layer, beside what it must beat, and whether probes carry over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.linear_probes import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

Shown = Literal["accuracy", "from_base", "to_base"]
SHOWN: tuple[Shown, ...] = ("accuracy", "from_base", "to_base")


def title(shown: Shown, reference: str) -> str:
    """What was fitted on what and tested on what."""
    return {
        "accuracy": "fitted and tested on the checkpoint",
        "from_base": f"fitted on {reference}, tested on the checkpoint",
        "to_base": f"fitted on the checkpoint, tested on {reference}",
    }[shown]


def copies(repeated: int, reviews: int) -> str | None:
    """How many reviews repeat an earlier one, and what was done about it; None if none does."""
    if not repeated:
        return None
    return (
        f"{repeated} of {reviews} texts repeat an earlier one. All copies of a text are in one fold, so no probe is "
        f"tested on a text that it was fitted on; intervals count each copy, so they are too narrow."
    )


CURVES_GUIDE = Guide(
    "How many unseen texts a logistic regression gets right, with 95 % intervals.",
    "A probe that finds the class does not prove that the model uses it.",
    "The probes use five-fold cross-validation. "
    "Only accuracy above the mean token embedding was computed by the blocks.",
)


def curves(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    classes: int,
    shown: Shown,
    reference: str,
) -> go.Figure:
    """Held-out accuracy with its 95 % interval; dotted the same with shuffled labels, dashed what needs no layer.

    `positions` are the checkpoints' places among the study's `count`, for their colours.
    """
    names, reference = theme.literals(names), theme.literal(reference)
    traces: list[dict[str, Any]] = []
    x = np.arange(len(results[0].accuracy.value))
    for result, name, position in zip(results, names, positions, strict=True):
        colour = theme.checkpoint_colour(position, count)
        triple = [100 * end for end in getattr(result, shown).ends]
        hover = "layer %{x}: %{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f})"
        traces += drawing.banded(x, triple, name, drawing.stroke(colour), hover, {"size": 6})
        if shown == "accuracy":
            shuffled, dotted = 100 * result.shuffled_accuracy.value, drawing.stroke(colour, 1.6, "dot")
            traces.append(_line(x, shuffled, f"shuffled labels, {name}", dotted))
            bags, dashed = 100 * result.embedding_accuracy.value, drawing.stroke(colour, 1.6, "dash")
            traces.append(_line(x, np.full(len(x), bags), f"mean token embedding, {name}", dashed))
    lengths = np.full(len(x), 100 * results[0].length_accuracy.value)
    traces.append(_line(x, lengths, "prompt length alone", drawing.stroke(theme.QUIET, 2, "dash")))
    chance = 100 / classes
    return theme.figure(
        traces,
        f"Linear probe: {title(shown, reference)} (%)",
        height=430,
        shapes=[drawing.level(chance, width=1)],
        xaxis=theme.layer_axis(len(x)),
        yaxis=theme.axis("held-out accuracy (%)", range=[min(-3 + chance - 20, 30), 103]),
        **drawing.below(),
    )


def _line(x: np.ndarray, y: np.ndarray, name: str, line: dict[str, Any]) -> dict[str, Any]:
    return drawing.line(x, y, name, line, "layer %{x}: %{y:.1f} %", {"size": 6}, mode="lines")


HEATMAP_GUIDE = Guide(
    "The same for all checkpoints.",
    "The layer with the highest value was picked by looking, so its value is too high.",
    "Layers where all texts are the same are empty.",
)


def heatmap(results: Sequence[Result], names: Sequence[str], classes: int, shown: Shown, reference: str) -> go.Figure:
    """Checkpoint x layer: held-out accuracy in percent, coloured around chance."""
    names, reference = theme.literals(names), theme.literal(reference)
    matrix = 100 * np.stack([getattr(result, shown).value for result in results])
    chance = 100 / classes
    reach = max(chance, 100 - chance)
    heat: dict[str, Any] = drawing.heatmap(
        matrix,
        np.arange(matrix.shape[1]),
        list(names),
        "%{y}, layer %{x}: %{z:.1f} %<extra></extra>",
        theme.QUALITY,
        zmin=chance - reach,
        zmid=chance,
        zmax=chance + reach,
        colorbar=drawing.bar(len=1),
    )
    return theme.figure(
        [heat],
        f"Checkpoint × layer: {title(shown, reference)} (%)",
        height=130 + 34 * len(names),
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
    )
