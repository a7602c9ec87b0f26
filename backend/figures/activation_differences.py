"""Draw the mean change of the residual stream: its length over layers and checkpoints, and the tokens it promotes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.activation_differences import Result
from backend.derived.model_differences import PLACES
from backend.figures.style import drawing, following, seed_floor, theme
from backend.figures.style.guide import Guide
from backend.figures.style.tokens import distinct, spoken

TEXT_SETS = {"neutral": "neutral sentences", "sample": "the study's texts", "own": "your own texts"}
NAMED = {place: "all positions" if place == "all" else f"position {place}" for place in PLACES}
NAMED_TOKENS = 6
RARELY = 0.05
"""Share of random directions up to which a token is violet."""


GUIDE = Guide(
    "How far training moved the mean residual of each layer, as a share of the residual's own length.",
    "A mean hides changes that differ between texts.",
    "A cross marks a change that two halves of the texts do not tell from 0. "
    "Subtract, average over the texts, and divide by the mean length in the reference.",
)
CURVE_GUIDE = Guide(
    "The mean change at each layer, with its 95 % interval; the other places are thin.",
    "Below the dotted floor, the choice of texts alone moves a mean as far.",
    "The floor is half the distance between the means of two random halves of the texts. "
    "95 % of such halves stay below it. A dashed floor is the mean change between two seeds. "
    "At the first position, the texts share few tokens, so intervals are wide.",
)


def overview(
    results: Sequence[Result], names: Sequence[str], place: int, reference: str, chosen: int | None = None
) -> go.Figure:
    """Draw checkpoint x layer: the relative length at a place, crossed where the interval reaches the floor.

    A click on a cell selects a point whose customdata is (row, layer).
    """
    shown = theme.literals(names)
    values = 100 * np.stack([result.relative.value[place] for result in results])
    below = [(row, layer) for row, result in enumerate(results) for layer in hidden(result, place).tolist()]
    traces: list[dict[str, Any]] = [
        drawing.heatmap(
            values,
            np.arange(values.shape[1]),
            shown,
            "%{y}, layer %{x}: %{z:.3g} % of the residual's length<extra></extra>",
            theme.SEQUENTIAL,
            zmin=0,
            colorbar=drawing.bar(len=1, ticksuffix=" %"),
        ),
        drawing.targets(values, shown, "%{y}, layer %{x}: %{text} % of the residual's length<extra></extra>"),
    ]
    if below:
        traces.append(
            drawing.points(
                [layer for _, layer in below],
                [shown[row] for row, _ in below],
                {"symbol": "x-thin", "size": 9, "line": {"width": 1.6, "color": theme.QUIET}},
                "%{y}, layer %{x}: within the floor",
                customdata=below,
                showlegend=False,
            )
        )
    for row, label in enumerate(names if chosen is not None else ()):
        most = int(np.nanargmax(np.nan_to_num(values[row], nan=-1.0)))
        hover = f"%{{y}}, layer %{{x}}: the largest of this checkpoint, {values[row, most]:.3g} %<extra></extra>"
        ring = drawing.ring([most], [shown[row]], 15, hover, showlegend=False, customdata=[(row, most)])
        traces += following.of_epoch([ring], label, names[chosen or 0])
    if chosen is not None:
        traces.append(drawing.ring([None], [None], 11, name="largest of the chosen checkpoint"))
    return theme.figure(
        traces,
        f"Mean change of the residual stream from {theme.literal(reference)}, {NAMED[PLACES[place]]}",
        height=120 + 32 * len(shown),
        xaxis=theme.layer_axis(values.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
        legend=drawing.RIGHT,
        **following.layout(names),
    )


def hidden(result: Result, place: int) -> np.ndarray:
    """Return the layers at which the interval reaches the floor."""
    chance = np.zeros_like(result.relative.low) if result.relative.chance is None else result.relative.chance
    return np.flatnonzero(~(result.relative.low[place] > chance[place]))


def curves(result: Result, name: str, place: int, colour: str, seeds: Sequence[tuple[str, Result]] = ()) -> go.Figure:
    """Draw the relative length at each layer, the chosen place with interval and floors, the others thin.

    `seeds` are the names and results of twins that only their seed tells apart.
    """
    layers = np.arange(result.norm.shape[1])
    triple = [100 * end[place] for end in result.relative.ends]
    traces: list[dict[str, Any]] = []
    for p, other in enumerate(PLACES):
        if p != place:
            thin = drawing.stroke(theme.veil(theme.QUIET, 0.55), 1.2)
            hover = "layer %{x}: %{y:.3g} %"
            traces.append(drawing.line(layers, 100 * result.relative.value[p], NAMED[other], thin, hover, mode="lines"))
    hover, line = "layer %{x}: %{y:.3g} %" + drawing.LIMITS, drawing.stroke(colour, 2.6)
    traces += drawing.banded(layers, triple, NAMED[PLACES[place]], line, hover, {"size": 6})
    if result.relative.chance is not None:
        floor = drawing.stroke(theme.QUIET, 1.8, "dot")
        traces.append(drawing.line(layers, 100 * result.relative.chance[place], "floor", floor, mode="lines"))
    for twins, other in seeds:
        traces += seed_floor.curve(layers, [100 * end[place] for end in other.relative.ends], twins)
    return theme.figure(
        traces,
        f"{theme.literal(name)}: mean change over the residual's length",
        height=340,
        xaxis=theme.layer_axis(len(layers)),
        yaxis=theme.axis("% of the residual's length", rangemode="tozero"),
        **drawing.below(),
    )


def tokens(result: Result, name: str, place: int, layer: int) -> go.Figure | None:
    """Draw the tokens that the mean change promotes, against random directions; None without a change or lens."""
    rows = distinct(result.tokens(place, layer))
    if not rows:
        return None
    values, rare = result.promoted[place, layer], result.by_chance[place, layer]
    level = drawing.upright(result.random_level, dash="dot")
    return theme.figure(
        [
            drawing.bars(
                values.astype(np.float32),
                rows,
                [theme.checkpoint_colour(1, 2) if one <= RARELY else theme.QUIET for one in rare],
                "%{y}: +%{x:.3g}; %{customdata:.2g} % of random directions promote a token as much",
                customdata=(100 * rare).astype(np.float32),
            )
        ],
        f"{theme.literal(name)}, layer {layer}, {NAMED[PLACES[place]]}: tokens promoted",
        height=110 + 19 * len(rows),
        shapes=[level],
        annotations=[drawing.beside(result.random_level, "95 % of random directions")],
        xaxis=theme.axis("logit, in standard deviations of random directions", rangemode="tozero"),
        yaxis=drawing.NAMES | {"tickfont": {"size": 11}},
    )


def tokens_guide(lens: str) -> Guide:
    """Return the guide of the tokens, which the norm and unembedding of `lens` read."""
    return Guide(
        "The tokens that the mean change promotes when it is read as if it were the last residual (logit lens).",
        "Early layers are not written for the unembedding, so read late layers first.",
        f"Final norm and unembedding are those of {lens}. 95 % of random directions promote no token beyond the dotted "
        "line; tokens beyond it are violet. A list of related tokens says more than one token far to the right.",
    )


def in_words(result: Result, name: str, text_set: str, place: int) -> str:
    """Return the answer in one or two sentences: where the mean residual moved most, and what it says there."""
    layer = result.peak(place)
    where = f"On {TEXT_SETS[text_set]}, {NAMED[PLACES[place]]}"
    if layer is None:
        return f"{where}, the mean residual of **{name}** moved at no layer by more than the floor."
    value, low, high = (100 * float(end[place, layer]) for end in result.relative.ends)
    said = (
        f"{where}, **{name}** moved most at layer {layer}: by {value:.3g} % of the residual's length ({low:.3g} to "
        f"{high:.3g})."
    )
    named = result.tokens(place, layer)[:NAMED_TOKENS]
    if not named:
        return said
    share = 100 * float(result.by_chance[place, layer, 0])
    return f"{said} There it promotes {spoken(named)}; {share:.2g} % of random directions promote a token as much."


def beyond_seed(result: Result, floor: Result, place: int, name: str, twin: str, other: str) -> str:
    """Say at which layers the checkpoint moved further than two seeds are apart."""
    beyond = np.flatnonzero(result.relative.low[place] > floor.relative.high[place])
    return seed_floor.layers_beyond(beyond, name, twin, other)
