"""Layers sorted into general, transitional and task-specific: the numbers on a coloured ground, rule and verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.stats.estimate import Estimate
from backend.stats.layer_roles import KINDS, Reading

COLOURS = (theme.veil(theme.QUIET, 0.34), theme.veil(theme.QUIET, 0.1), theme.veil(theme.checkpoint_colour(1, 2), 0.34))
"""General layers are grey as the base is, task-specific ones violet as a checkpoint is."""


GUIDE = Guide(
    "The role of each layer as its background: general, transitional or task-specific.",
    "The roles follow from a rule and a level, and few texts leave most layers transitional.",
    "The rule uses the CKA with the reference and the gain of a linear probe.",
)


def draw(reading: Reading, name: str, reference: str) -> go.Figure:
    """CKA and both accuracies over the layers, on a ground that says of which kind each layer is."""
    name, reference = theme.literal(name), theme.literal(reference)
    x = np.arange(len(reading.kind))
    shapes: list[dict[str, Any]] = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": layer - 0.5,
            "x1": layer + 0.5,
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "line": {"width": 0},
            "fillcolor": COLOURS[kind],
        }
        for layer, kind in enumerate(reading.kind)
        if kind >= 0
    ]
    shapes.append(drawing.level(reading.level, color=theme.RING, width=1, dash="dash"))
    traces: list[dict[str, Any]] = [
        drawing.entry(f"{said} ({count})", {"symbol": "square", "size": 12, "color": colour})
        for said, colour, count in zip(KINDS, COLOURS, reading.counts, strict=True)
    ]
    for label, field, colour, dash in (
        (f"CKA with {reference}", "cka", theme.DIRECTION, "solid"),
        (f"probe accuracy, {name}", "accuracy", theme.checkpoint_colour(2, 3), "solid"),
        (f"probe accuracy, {reference}", "reference_accuracy", theme.checkpoint_colour(0, 3), "dash"),
    ):
        y = getattr(reading, field)
        if isinstance(y, Estimate):
            traces += theme.band(x, y.low, y.high, colour)
            y = y.value
        traces.append(drawing.line(x, y, label, drawing.stroke(colour, 2.2, dash), "layer %{x}: %{y:.3f}", {"size": 6}))
    return theme.figure(
        traces,
        f"{name}: general, transitional or task-specific",
        height=430,
        shapes=shapes,
        xaxis=theme.layer_axis(len(x), showgrid=False),
        yaxis=theme.axis("CKA, held-out accuracy (0 to 1)", range=[-0.03, 1.03]),
        **drawing.below(),
    )


def in_words(reading: Reading, name: str, reference: str) -> str:
    """How many layers are of each kind, and whether they stand in that order."""
    counts = ", ".join(f"{count} {kind}" for count, kind in zip(reading.counts, KINDS, strict=True))
    missing = [kind for count, kind in zip(reading.counts, KINDS, strict=True) if not count]
    wrong = reading.disorder
    if wrong:
        said = (
            f"does not hold: layer {wrong[1]} is {KINDS[reading.kind[wrong[1]]]} and stands above layer {wrong[0]}, "
            f"which is {KINDS[reading.kind[wrong[0]]]}"
        )
    elif missing:
        said = f"holds in part: no layer is {' or '.join(missing)}, the others stand in that order"
    else:
        said = "holds: they stand in that order"
    return f"**{name}** against **{reference}**: {counts}. The reading “early general, late task-specific” {said}."


def rule(level: float, classes: int) -> str:
    """The rule by which layers are sorted."""
    return (
        f"The rule: **general** if the whole interval of CKA is at least {level:g} and the probe gained nothing; "
        f"**task-specific** if it is wholly below {level:g}, the probe gained (paired 95 % interval above 0) and its "
        f"own interval is above chance ({1 / classes:.2g}); **transitional** if neither."
    )
