"""Steering: curves over coefficients beside their null, coefficients by layers, directions of another model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.steering import MEASURES, NULL, Measure, Query, Result
from backend.figures.style import drawing, text, theme
from backend.figures.style.guide import Guide

UNITS: dict[Measure, str] = {
    "mean_logit_diff": "mean logit difference (logits)",
    "gap": "gap (logits)",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy (%)",
    "flipped_to_1": "answers that became it (%)",
    "flipped_to_0": "answers that left it (%)",
}
SHOWN: tuple[Measure, ...] = ("mean_logit_diff", "gap", "balanced_accuracy", "auc")
COEFFICIENTS = {"difference": "coefficient α (class differences)", "unit": "coefficient α (residual units)"}
_PERCENT = ("balanced_accuracy", "flipped_to_1", "flipped_to_0")
_BELOW = drawing.below(64)


def spread(alphas: Sequence[float]) -> np.ndarray:
    """Coefficients on an axis that gives small ones room: the sign times log2(1 + size)."""
    coefficients = np.asarray(alphas, dtype=np.float64)
    return np.sign(coefficients) * np.log2(1 + np.abs(coefficients))


def values(result: Result, measure: Measure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Value, low, high, null and the model as it is, shares in percent."""
    scale = 100 if measure in _PERCENT else 1
    value, low, high = (scale * end for end in result.of(measure).ends)
    return value, low, high, scale * result.null_of(measure), scale * float(result.plain[MEASURES.index(measure)])


def where(query: Query, spot: int = 0) -> str:
    """What is put where, for titles."""
    source, layer = query.spots[spot]
    if query.direction_from == query.checkpoint and source == layer:
        return "its own directions at all layers" if layer is None else f"its own direction at layer {layer}"
    of = f"{query.direction_from.label}'s direction" + (" of each layer" if source is None else f" of layer {source}")
    return f"{of} at {'all layers' if layer is None else f'layer {layer}'}"


COEFFICIENTS_GUIDE = Guide(
    "The effect of each coefficient with its 95 % interval, and the answers that change.",
    "Inside the grey range any vector of this length does the same.",
    f"Grey is the range of {NULL} directions from shuffled labels, rescaled to the same length. "
    "The dotted line is their median. "
    "Far from 0 the model leaves the range of its training.",
)


def coefficients(result: Result, query: Query, measure: Measure, spot: int = 0) -> go.Figure:
    """One measure over the coefficient with its 95 % interval, over the range of the permuted directions."""
    colour = theme.DIRECTION
    traces = [*_null(result, query, measure, spot, theme.QUIET), *_curve(result, query, measure, spot, colour)]
    return _over_coefficients(
        traces, query, f"{query.checkpoint.label}, {where(query, spot)}: {UNITS[measure]}", measure
    )


def flips(result: Result, query: Query, words: Sequence[str], spot: int = 0) -> go.Figure:
    """How many answers the coefficient turns, either way, and dotted the median of the permuted directions."""
    word = text.shown(words[1 if len(words) == 2 else query.direction])
    traces: list[dict[str, Any]] = []
    for measure, colour, name in (
        ("flipped_to_1", theme.POSITIVE, f"became {word}"),
        ("flipped_to_0", theme.NEGATIVE, f"left {word}"),
    ):
        traces += _null(result, query, measure, spot, colour, f"permuted: {name}")[1:]  # type: ignore[arg-type]
        traces += _curve(result, query, measure, spot, colour, name)  # type: ignore[arg-type]
    title = f"{query.checkpoint.label}: answers that change (% of all texts)"
    return _over_coefficients(traces, query, title, "flipped_to_1")


def _curve(
    result: Result, query: Query, measure: Measure, spot: int, colour: str, name: str | None = None
) -> list[dict[str, Any]]:
    value, low, high, _, _ = values(result, measure)
    x, name = spread(query.alphas), name or "the class direction"
    dashed = measure == "flipped_to_0"
    return drawing.banded(
        x,
        (value[spot], low[spot], high[spot]),
        name,
        drawing.stroke(colour),
        "α = %{customdata[2]:.3g}: %{y:.3g}" + drawing.LIMITS,
        {"size": 7, "symbol": "square" if dashed else "circle"},
        customdata=drawing.ends(low[spot], high[spot], query.alphas),
    )


def _null(
    result: Result, query: Query, measure: Measure, spot: int, colour: str, name: str | None = None
) -> list[dict[str, Any]]:
    """The median of the permuted directions, dotted, in a band from their least to their largest."""
    null = values(result, measure)[3][:, spot]
    if not len(null) or np.isnan(null).all():
        return []
    x, name = spread(query.alphas), name or f"{len(null)} permuted directions as long"
    least, most = null.min(axis=0), null.max(axis=0)
    return drawing.banded(
        x,
        (np.median(null, axis=0), least, most),
        name,
        drawing.stroke(colour, 1.6, "dot"),
        "α = %{customdata[2]:.3g}: %{customdata[0]:.3g} to %{customdata[1]:.3g}",
        mode="lines",
        customdata=drawing.ends(least, most, query.alphas),
    )


def _over_coefficients(traces: list[dict[str, Any]], query: Query, title: str, measure: Measure) -> go.Figure:
    return theme.figure(
        traces,
        theme.literal(title),
        height=400,
        xaxis=coefficients_axis(query.alphas, query.scale),
        yaxis=theme.axis("share (%)" if measure == "flipped_to_1" else UNITS[measure]),
        **_BELOW,
    )


def coefficients_axis(alphas: Sequence[float], scale: str = "difference") -> dict[str, Any]:
    """Return the axis of coefficients at their `spread` places."""
    ticks = {"tickvals": spread(alphas), "ticktext": [f"{alpha:g}" for alpha in alphas]}
    return theme.axis(COEFFICIENTS[scale], tickmode="array", **ticks)


HEATMAP_GUIDE = Guide(
    "Each layer steered with its own direction; the colours part at the unsteered model.",
    "Another vector may do the same; see the view of all coefficients at one layer.",
    "Empty layers hold no text. A layer where small coefficients change the effect gradually can change the class.",
)


def heatmap(result: Result, query: Query, measure: Measure) -> go.Figure:
    """Coefficient over layer, coloured around the model as it is."""
    value, low, high, _, plain = values(result, measure)
    reach = float(np.nanmax(np.abs(value - plain), initial=1e-9)) if np.isfinite(value).any() else 1.0
    layers = [layer for _, layer in query.spots]
    trace = drawing.heatmap(
        value.T,
        layers,
        [f"{alpha:g}" for alpha in query.alphas],
        "layer %{x}, α = %{y}: %{z:.3g} (%{customdata[0]:.3g} to %{customdata[1]:.3g})<extra></extra>",
        theme.DIVERGING if measure == "mean_logit_diff" else theme.QUALITY,
        customdata=np.stack([low.T, high.T], axis=2).astype(np.float32),
        zmin=plain - reach,
        zmax=plain + reach,
        hoverongaps=False,
    )
    return theme.figure(
        [trace],
        theme.literal(f"{query.checkpoint.label}, layer × coefficient: {UNITS[measure]}"),
        height=130 + 28 * len(query.alphas),
        xaxis=theme.layer_axis(len(layers), showgrid=False),
        yaxis={"type": "category", "title": {"text": COEFFICIENTS[query.scale]}, "automargin": True, "showgrid": False},
    )


def transfer_guide(host: str, source: str) -> Guide:
    """Return the guide of `transfer`."""
    return Guide(
        f"{host} steered with the direction of {source} at each layer, with 95 % intervals.",
        "A gain on one class alone is bias, which balanced accuracy does not reward.",
        "The vector is added at its own layer only, or at all layers. At all layers it adds up to a larger one.",
    )


def transfer(single: Result, whole: Result, query: Query, measure: Measure, alpha: float, source: str) -> go.Figure:
    """The model with each layer's direction of another one, put to that layer alone and to all layers."""
    at = query.alphas.index(alpha)
    traces: list[dict[str, Any]] = []
    layers = np.array([layer for layer, _ in query.spots])
    for result, name, colour, symbol in (
        (single, "at its own layer", theme.PAIR[0], "circle"),
        (whole, "at all layers", theme.PAIR[1], "square"),
    ):
        *triple, _, plain = values(result, measure)
        traces += drawing.banded(
            layers,
            [end[:, at] for end in triple],
            f"direction of layer l {name}",
            drawing.stroke(colour),
            f"layer %{{x}}: %{{y:.3g}}{drawing.LIMITS}<extra>{name}</extra>",
            {"size": 7, "symbol": symbol},
        )
    as_it_is, sides = theme.literal(f"{query.checkpoint.label} as it is"), [layers[0] - 0.4, layers[-1] + 0.4]
    traces.append(drawing.across(sides, plain, as_it_is, "dot", "%{y:.3g}<extra>as it is</extra>"))
    title = f"{query.checkpoint.label} with directions of {source}, α = {alpha:g}: {UNITS[measure]}"
    return theme.figure(
        traces,
        theme.literal(title),
        height=400,
        xaxis=theme.layer_axis(len(layers), "direction of layer l"),
        yaxis=theme.axis(UNITS[measure]),
        **_BELOW,
    )


def in_words(result: Result, query: Query, words: Sequence[str], spot: int = 0) -> list[str]:
    """Effect of the smallest coefficient against permuted directions, and of the largest ones, in a sentence."""
    if np.isnan(result.measures.value[:, spot]).all():
        return ["All texts have the same residual there, so there is no direction to put."]
    said = [_within_chance(result, query, spot)]
    value, low, high, null, plain = values(result, "mean_logit_diff")
    positive = [a for a, alpha in enumerate(query.alphas) if alpha > 0]
    at, word = positive[0], words[1 if len(words) == 2 else query.direction]
    moved, drawn = value[spot, at] - plain, np.abs(null[:, spot, at] - plain)
    beyond = "" if not len(drawn) else f"; {int((drawn >= abs(moved)).sum())} of {len(drawn)} permuted ones as far"
    said.append(
        f"α = {query.alphas[at]:g} moves the mean logit difference of {word} by {moved:+.2f}, from {plain:.2f} to "
        f"{value[spot, at]:.2f} ({low[spot, at]:.2f} to {high[spot, at]:.2f}){beyond}."
    )
    accuracy, _, _, _, before = values(result, "balanced_accuracy")
    ends = [0, len(query.alphas) - 1]
    said.append(
        f"Of {before:.1f} % balanced accuracy the strongest coefficients leave "
        + " and ".join(f"{accuracy[spot, end]:.1f} % (α = {query.alphas[end]:g})" for end in ends)
        + ". A strongly steered model gives one answer to every text."
    )
    return [one for one in said if one]


def _within_chance(result: Result, query: Query, spot: int) -> str:
    norm, chance = float(result.norm[spot]), float(result.chance[spot])
    if np.isnan(norm):
        return ""
    if norm > chance:
        return f"The direction is {norm:.3g} long, beyond the {chance:.3g} of permuted labels."
    return (
        f"The direction of {query.direction_from.label} at layer {query.spots[spot][0]} is within chance (length "
        f"{norm:.3g}; permuted labels reach {chance:.3g}). Trust only effects that permuted directions do not have."
    )
