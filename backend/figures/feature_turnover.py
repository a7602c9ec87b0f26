"""Which features come and go across layers and epochs, against what another seed exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.feature_turnover import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

Measure = Literal["kept", "new", "cosine"]
MEASURES: dict[Measure, str] = {
    "kept": "features of the reference found again",
    "new": "features of the checkpoint that are new",
    "cosine": "mean cosine of paired features",
}
LITTLE = 0.1
"""Of a floor that keeps less than a tenth, nothing can be lost."""


GUIDE = Guide(
    "The features that each checkpoint's own autoencoder shares with the reference's.",
    "Only differences beyond the dashed line came with training, and it is one pair of seeds.",
    "Two features are the same if the cosine of their directions is at least 0.7. "
    "The dashed line is another seed on the reference. "
    "These autoencoders are small; seeds agree less on large ones.",
)


def curves(
    result: Result, layers: Sequence[int], names: Sequence[str], positions: Sequence[int], count: int, measure: Measure
) -> go.Figure:
    """One line per checkpoint over layers, dashed what two seeds on the reference have in common."""
    scale, unit = _unit(measure)
    floor = scale * getattr(result, f"floor_{measure}")
    traces = [_line(layers, floor, "another seed on the reference", drawing.stroke(theme.QUIET, dash="dash"))]
    for values, name, position in zip(scale * getattr(result, measure), names, positions, strict=True):
        stroke = drawing.stroke(theme.checkpoint_colour(position, count))
        traces.append(_line(layers, values, theme.literal(name), stroke))
    return theme.figure(
        traces,
        f"{MEASURES[measure].capitalize()}{unit}",
        height=380,
        xaxis=theme.axis("layer", tickmode="array", tickvals=list(layers)),
        yaxis=theme.axis(MEASURES[measure] + unit, rangemode="tozero"),
        **drawing.below(),
    )


def _unit(measure: Measure) -> tuple[int, str]:
    return (1, "") if measure == "cosine" else (100, " (%)")


def _line(layers: Sequence[int], y: np.ndarray, name: str, stroke: dict[str, Any]) -> dict[str, Any]:
    return drawing.line(list(layers), y, name, stroke, "layer %{x}: %{y:.3g}", {"size": 7})


def heatmap(result: Result, layers: Sequence[int], names: Sequence[str], measure: Measure) -> go.Figure:
    """Checkpoint x layer, less what another seed exchanges anyway: red is more turnover than that."""
    names = theme.literals(names)
    scale, _ = _unit(measure)
    beyond = scale * (getattr(result, measure) - getattr(result, f"floor_{measure}"))
    reach = max(1e-6, float(np.nanmax(np.abs(beyond)))) if np.isfinite(beyond).any() else 1.0
    turn = -1 if measure == "new" else 1
    colours = theme.QUALITY if turn > 0 else [[1 - at, colour] for at, colour in reversed(theme.QUALITY)]
    shown = scale * getattr(result, measure)
    unit = "" if scale == 1 else " points"
    heat: dict[str, Any] = drawing.heatmap(
        beyond,
        [str(layer) for layer in layers],
        list(names),
        "%{y}, layer %{x}: %{text}, %{z:+.3g}" + unit + " against two seeds<extra></extra>",
        colours,
        text=[["" if np.isnan(one) else f"{one:.{2 if scale == 1 else 0}f}" for one in row] for row in shown],
        zmin=-reach,
        zmax=reach,
    )
    return theme.figure(
        [heat, *drawing.numbers(heat, heat["text"], -reach, reach, colours)],
        f"{MEASURES[measure].capitalize()}{_unit(measure)[1]}; colour: against two seeds",
        height=max(380, 150 + 40 * len(names)),
        xaxis=theme.axis("layer", type="category", showgrid=False),
        yaxis=drawing.NAMES,
    )


def in_words(result: Result, layers: Sequence[int], names: Sequence[str]) -> list[str]:
    """Per checkpoint the layer at which most was exchanged beyond what another seed exchanges."""
    if not np.nan_to_num(result.floor_kept).max() >= LITTLE:
        return [
            "Two seeds on the reference share hardly any features at this size, so no layer can be told to have lost "
            "some; take fewer features, or fewer that fire."
        ]
    said = []
    for values, name in zip(result.kept - result.floor_kept, names, strict=True):
        if not np.isfinite(values).any():
            said.append(f"**{name}**: no layer has features that fire often enough to be paired.")
            continue
        j = int(np.nanargmin(values))
        lost, floor = 100 * (1 - result.kept[names.index(name), j]), 100 * (1 - result.floor_kept[j])
        most = f"**{name}**: most is exchanged at layer {layers[j]}, where {lost:.0f} % of the reference's features are"
        said.append(
            f"{most} not found again, against {floor:.0f} % with another seed on the reference."
            if values[j] < 0
            else f"**{name}**: at no layer is more exchanged than another seed exchanges."
        )
    return said
