"""How training went: held-out accuracy and loss over steps, the ends of epochs marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.study.training_log import TrainingLog

MOST_NAMES = 10
"""More names of checkpoints than this would cover each other; the last one is always there."""
_COLOUR, _HELD_OUT = "#7a5cd6", "#c2571a"


def accuracy(log: TrainingLog, classes: int, names: Sequence[str]) -> go.Figure:
    """Balanced accuracy on held-out texts with its 95 % interval, against chance; `names` are those of the epochs."""
    names = theme.literals(names)
    there = np.isfinite(log.held_out_accuracy)
    x = log.step[there]
    value, low, high = (100 * end[there] for end in (log.held_out_accuracy, log.held_out_low, log.held_out_high))
    n = int(np.nanmax(log.held_out_n[there])) if there.any() else 0
    chance = 100 / classes
    traces = drawing.banded(
        x,
        (value, low, high),
        "held-out accuracy",
        drawing.stroke(_COLOUR),
        "step %{x:,}, epoch %{customdata[2]:.2f}: %{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f})"
        "<extra></extra>",
        {"size": 5},
        customdata=drawing.ends(low, high, log.epoch[there]),
        error_y=drawing.error_bars(value, low, high, visible=len(x) == 1),
    )
    figure = _draw(log, traces, f"Accuracy on {n:,} held-out texts (%)", names)
    return figure.add_shape(drawing.level(chance, dash="dash")).add_annotation(
        xref="paper",
        x=1,
        y=chance,
        text=f"chance {chance:.0f} %",
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
        font={"size": 11},
    )


def draw(log: TrainingLog, classes: int, names: Sequence[str]) -> dict[str, go.Figure]:
    """The pictures that the log has values for, by name."""
    tested = {"training-accuracy": accuracy(log, classes, names)} if np.isfinite(log.held_out_accuracy).any() else {}
    return tested | {"training-loss": loss(log, names)}


def guide(log: TrainingLog) -> Guide:
    """Return the guide of both pictures."""
    beware = "Nothing was measured on held-out texts, so these curves show no generalization."
    if np.isfinite(log.held_out_accuracy).any():
        beware = "Trust the held-out accuracy and its interval."
    elif np.isfinite(log.held_out_loss).any():
        beware = "Trust the loss of held-out texts more than the training loss."
    ends = "where checkpoints were saved" if log.saved else "ends of epochs, where checkpoints were saved"
    return Guide(
        "Values logged during training, by step.",
        beware,
        f"Dotted lines are {ends}. The training loss falls even when the model learns nothing general.",
    )


def loss(log: TrainingLog, names: Sequence[str]) -> go.Figure:
    """Mean loss on the training texts since the line before, and on held-out texts, in nats.

    The axis is logarithmic unless a loss is 0 or below, as those of preference and reinforcement learning may be.
    """
    names = theme.literals(names)
    there, tested = np.isfinite(log.loss), np.isfinite(log.held_out_loss)
    logarithmic = bool((log.loss[there] > 0).all() and (log.held_out_loss[tested] > 0).all())
    said = "step %{x:,}, epoch %{customdata[0]:.2f}: %{y:.3g} nats"
    line = drawing.line(
        log.step[there],
        log.loss[there],
        "training texts",
        drawing.stroke(_COLOUR, 1.8),
        f"{said}, learning rate %{{customdata[1]:.2g}}<extra></extra>",
        mode="lines",
        customdata=drawing.ends(log.epoch[there], log.learning_rate[there]),
    )
    held_out = drawing.line(
        log.step[tested],
        log.held_out_loss[tested],
        "held-out texts",
        drawing.stroke(_HELD_OUT, 1.8),
        f"{said} on held-out texts<extra></extra>",
        {"size": 5},
        customdata=drawing.ends(log.epoch[tested]),
    )
    traces = [line, held_out] if tested.any() else [line]
    title = f"{'Loss' if tested.any() else 'Training loss'} (nats{', logarithmic' if logarithmic else ''})"
    figure = _draw(log, traces, title, names, **{"type": "log"} if logarithmic else {})
    return figure.update_layout(
        showlegend=bool(tested.any()), legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top"}
    )


def _draw(
    log: TrainingLog, traces: Sequence[dict[str, Any]], title: str, names: Sequence[str], **axis: Any
) -> go.Figure:
    """Over steps, with a line where each checkpoint was saved, or at the end of each epoch, named like it."""
    ends = [step for step, _ in log.saved] or log.epoch_ends
    named = [names[i] if i < len(names) else f"end of epoch {i + 1}" for i in range(len(ends))]
    named = [label for _, label in log.saved] or named
    apart = -(-len(ends) // MOST_NAMES) or 1
    labels = [
        drawing.beside(int(x), name) | {"xshift": 3}
        for x, name in list(zip(ends, named, strict=True))[::-1][::apart][::-1]
    ]
    return theme.figure(
        traces,
        title,
        height=300,
        xaxis=theme.axis("step", rangemode="tozero", tickformat=","),
        yaxis=theme.axis("", **axis),
        shapes=[drawing.upright(int(x), width=1, dash="dot") for x in ends],
        annotations=labels,
        showlegend=False,
        margin={"l": 48, "r": 12, "t": 54, "b": 44},
    )
