"""How training went: held-out accuracy and loss over steps, the ends of epochs marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.figures import _theme
from backend.training_log import TrainingLog

_COLOUR = "#7a5cd6"


def accuracy(log: TrainingLog, classes: int, names: Sequence[str]) -> go.Figure:
    """Balanced accuracy on held-out texts with its 95 % interval, against chance; `names` are those of the epochs."""
    there = np.isfinite(log.held_out_accuracy)
    x = log.step[there]
    value, low, high = (100 * one[there] for one in (log.held_out_accuracy, log.held_out_low, log.held_out_high))
    n = int(np.nanmax(log.held_out_n[there])) if there.any() else 0
    chance = 100 / classes
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "held-out accuracy",
        "x": x,
        "y": value.astype(np.float32),
        "customdata": np.stack([low, high, log.epoch[there]], axis=1).astype(np.float32),
        "line": {"color": _COLOUR, "width": 2.2},
        "marker": {"size": 5},
        "error_y": {"type": "data", "array": high - value, "arrayminus": value - low, "visible": len(x) == 1},
        "hovertemplate": "step %{x:,}, epoch %{customdata[2]:.2f}: %{y:.1f} % "
        "(%{customdata[0]:.1f} to %{customdata[1]:.1f})<extra></extra>",
    }
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": chance, "y1": chance}
    title = f"Accuracy on {n:,} held-out texts (%)"
    figure = _draw(log, [*_theme.band(x, low, high, _COLOUR), line], title, names)
    return figure.add_shape(level | {"line": {"color": _theme.QUIET, "dash": "dash"}}).add_annotation(
        xref="paper",
        x=1,
        y=chance,
        text=f"chance {chance:.0f} %",
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
        font={"size": 11},
    )


def loss(log: TrainingLog, names: Sequence[str]) -> go.Figure:
    """Mean loss on the training texts since the line before, in nats, on a logarithmic axis."""
    there = np.isfinite(log.loss)
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "loss",
        "x": log.step[there],
        "y": log.loss[there].astype(np.float32),
        "customdata": np.stack([log.epoch[there], log.learning_rate[there]], axis=1).astype(np.float32),
        "line": {"color": _COLOUR, "width": 1.8},
        "hovertemplate": "step %{x:,}, epoch %{customdata[0]:.2f}: %{y:.3g} nats, learning rate %{customdata[1]:.2g}"
        "<extra></extra>",
    }
    return _draw(log, [line], "Training loss (nats, logarithmic)", names, type="log")


def _draw(
    log: TrainingLog, traces: Sequence[dict[str, Any]], title: str, names: Sequence[str], **axis: Any
) -> go.Figure:
    """Over steps, with a line at the end of each epoch, named like the checkpoint that it left behind."""
    ends = log.epoch_ends
    named = [names[i] if i < len(names) else f"end of epoch {i + 1}" for i in range(len(ends))]
    marks = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": int(x), "x1": int(x)}
        | {"line": {"color": _theme.QUIET, "width": 1, "dash": "dot"}}
        for x in ends
    ]
    labels = [
        {"x": int(x), "yref": "paper", "y": 1, "text": name, "showarrow": False, "font": {"size": 11}}
        | {"xanchor": "right", "yanchor": "bottom", "xshift": 3}
        for x, name in zip(ends, named, strict=True)
    ]
    return _theme.figure(
        traces,
        title,
        height=300,
        xaxis=_theme.axis("step", rangemode="tozero", tickformat=","),
        yaxis=_theme.axis("", **axis),
        shapes=marks,
        annotations=labels,
        showlegend=False,
        margin={"l": 48, "r": 12, "t": 54, "b": 44},
    )
