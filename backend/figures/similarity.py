"""How alike the layers of checkpoint and reference are: curves with chance and floor, and when each layer moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.similarity import Measure, Result, first_below
from backend.figures.style import drawing, following, seed_floor, theme
from backend.figures.style.guide import Guide
from backend.stats.estimate import Estimate

NAMES: dict[Measure, str] = {
    "cka": "CKA",
    "procrustes": "Procrustes similarity (1 − disparity)",
    "cosine": "mean cosine",
}
LEVELS = ("0.99", "0.95", "0.9", "0.8", "0.5")


_CHANCE = "The dotted line is chance: texts paired at random exceed it at some layer in 5 % of cases."
GUIDES: dict[Measure, Guide] = {
    "cka": Guide(
        "Whether the same texts lie close together in both models: 1 is the same up to rotation and scale.",
        "A few massive dimensions can decide CKA alone, so also look without the three largest.",
        _CHANCE,
    ),
    "procrustes": Guide(
        "How much of the difference the best rotation and scale remove: 1 is all of it.",
        "With fewer texts than dimensions any two models look similar, so compare with the dotted line.",
        _CHANCE + " The interval holds the mean over samples of this size. Never compare samples of different sizes.",
    ),
    "cosine": Guide(
        "The mean cosine between a text's residuals in the two models, with its 95 % interval.",
        "All residuals of a model may share a direction, so compare with the dotted lines.",
        "A rotation lowers the cosine. The dotted lines are texts paired at random, and different texts.",
    ),
}


def curves(
    results: Sequence[Result],
    names: Sequence[str],
    positions: Sequence[int],
    count: int,
    measure: Measure,
    reference: str,
    chosen: int,
    floors: Sequence[tuple[str, Result]] = (),
) -> go.Figure:
    """Similarity to the reference of every epoch, that at `chosen` with its interval and chance; floors dashed.

    `positions` are the checkpoints' places among the study's `count`, for their colours; floors are named.
    """
    reference = theme.literal(reference)
    traces: list[dict[str, Any]] = []
    for result, label, position in zip(results, names, positions, strict=True):
        alike = result.alike(measure)
        x, colour = np.arange(len(alike.value)), theme.checkpoint_colour(position, count)
        *detail, line = _banded(x, alike, theme.literal(label), drawing.stroke(colour))
        if alike.chance is not None:
            detail.append(drawing.dotted(x, alike.chance, colour))
        traces += following.curve([line], detail, label, (names[chosen], ""))
    traces.append(drawing.key("chance", "dot"))
    for name, result in floors:
        alike = result.alike(measure)
        x, dashed = np.arange(len(alike.value)), drawing.stroke(seed_floor.COLOUR, dash="dash")
        traces += _banded(x, alike, name, dashed)
    if measure == "cosine":
        apart, dotted = results[0].review_cosine, drawing.stroke(theme.QUIET, 1.6, "dot")
        name = f"different texts in {reference}"
        traces.append(drawing.line(np.arange(len(apart)), apart, name, dotted, mode="lines"))
    return theme.figure(
        traces,
        f"Similarity to {reference}: {NAMES[measure]}",
        height=400,
        xaxis=theme.layer_axis(len(results[0].cka.value)),
        yaxis=theme.axis(NAMES[measure], range=[min(-0.03, _lowest(results, measure)), 1.03]),
        **drawing.below(),
        **following.layout(names),
    )


def _lowest(results: Sequence[Result], measure: Measure) -> float:
    there = [low[np.isfinite(low)] for low in (result.alike(measure).low for result in results)]
    return min((float(low.min()) - 0.03 for low in there if len(low)), default=0.0)


def _banded(x: np.ndarray, alike: Estimate[np.ndarray], name: str, line: dict[str, Any]) -> list[dict[str, Any]]:
    value, low, high = alike.ends
    chance = alike.chance if alike.chance is not None else np.full_like(value, np.nan)
    hover = "layer %{x}: %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f}), chance %{customdata[2]:.3f}"
    ends = drawing.ends(low, high, chance)
    return drawing.banded(x, (value, low, high), name, line, hover, {"size": 6}, customdata=ends)


MOVED_GUIDE = Guide(
    "The same numbers for every checkpoint.",
    "The level is a convention, so try others before you say which layer moved first.",
    "A ring marks the first checkpoint in which the whole interval of a layer lies below the level.",
)


def moved(results: Sequence[Result], names: Sequence[str], measure: Measure, level: float, reference: str) -> go.Figure:
    """Checkpoint x layer: similarity to the reference, ringed where a layer is first below the level."""
    names, reference = theme.literals(names), theme.literal(reference)
    matrix = np.stack([result.alike(measure).value for result in results])
    first = first_below(results, measure, level)
    at = np.flatnonzero(first >= 0)
    traces: list[dict[str, Any]] = [
        drawing.heatmap(
            matrix,
            np.arange(matrix.shape[1]),
            list(names),
            "%{y}, layer %{x}: %{z:.3f}<extra></extra>",
            theme.SEQUENTIAL,
            zmin=0,
            zmax=1,
            colorbar=drawing.bar(len=1),
        ),
        drawing.ring(
            at,
            [names[first[layer]] for layer in at],
            13,
            "layer %{x} is first below " + f"{level:g}" + " in %{y}<extra></extra>",
            name=f"first below {level:g}",
            showlegend=True,
        ),
    ]
    return theme.figure(
        traces,
        f"When each layer moved from {reference}: {NAMES[measure]}",
        height=130 + 34 * len(names),
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
        legend=drawing.RIGHT,
    )


def moved_in_words(results: Sequence[Result], names: Sequence[str], measure: Measure, level: float) -> str:
    """Which layers moved first in which checkpoint, and which never did."""
    first = first_below(results, measure, level)
    there = np.isfinite(results[0].cka.value)
    parts = [
        f"{seed_floor.layers(np.flatnonzero(first == i))} moved in **{name}**"
        for i, name in enumerate(names)
        if (first == i).any()
    ]
    never = np.flatnonzero(there & (first < 0))
    if len(never):
        parts.append(f"{seed_floor.layers(never)} never did")
    said = "; ".join(parts) or "there is no layer to judge"
    return f"A layer has moved once its whole interval lies below {level:g}. By this rule {said}."


def beyond_floor(result: Result, floor: Result, measure: Measure, name: str, twin: str, other: str) -> str:
    """At which layers the checkpoint is further from the reference than two seeds are from each other."""
    beyond = np.flatnonzero(result.alike(measure).high < floor.alike(measure).low)
    return seed_floor.layers_beyond(beyond, name, twin, other)
