"""How good an autoencoder is, and how its training went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from backend.analyses.features import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.lab.autoencoders import Point


def guide(layer: int) -> Guide:
    """Return the guide of `table`."""
    return Guide(
        f"How much of each model's residuals at layer {layer} the autoencoder explains.",
        "If it explains little or most features are dead, use more features or raise k first.",
        "The numbers are over the tokens of the sample, which also trained it.",
    )


def table(result: Result, names: Sequence[str]) -> list[dict[str, str]]:
    """One row per model: how much of its residuals the autoencoder explains."""
    rows = []
    for m, name in enumerate(names):
        rows.append(
            {
                "model": name,
                "explained variance": _percent(result.explained_variance[m]),
                "features per token (L0)": f"{result.l0[m]:.1f}",
                "dead features": _percent(result.dead[m]),
                "loss recovered": _percent(result.loss_recovered[m]),
                "loss as it is": _nats(result.losses[m, 0]),
                "with the reconstruction": _nats(result.losses[m, 2]),
                "with the mean instead": _nats(result.losses[m, 1]),
            }
        )
    return rows


def _percent(share: float) -> str:
    return "undefined" if np.isnan(share) else f"{100 * share:.1f} %"


def _nats(loss: float) -> str:
    return "undefined" if np.isnan(loss) else f"{loss:.3f} nats"


def training(
    step: np.ndarray, loss: np.ndarray, variance: np.ndarray, dead: np.ndarray, title: str = "How training went"
) -> go.Figure:
    """Loss, explained variance and share of dead features by training step."""
    title = theme.literal(title)
    lines = {
        "error over variance (loss)": (loss, theme.PAIR[1], "circle"),
        "explained variance": (variance, theme.PAIR[0], "square"),
        "dead features": (dead, theme.QUIET, "diamond"),
    }
    traces = [
        drawing.line(
            step,
            values,
            name,
            drawing.stroke(colour, 2),
            "step %{x}: %{y:.3f}",
            {"size": 6, "symbol": symbol},
            mode="lines+markers" if len(step) <= 40 else "lines",
        )
        for name, (values, colour, symbol) in lines.items()
    ]
    return theme.figure(
        traces,
        title,
        height=470,
        xaxis=theme.axis("training step"),
        yaxis=theme.axis("share", rangemode="tozero"),
        **drawing.below(),
    )


TRAINING_GUIDE = Guide(
    "The autoencoder's error, the variance that it explains and its dead features, by training step.",
    "If the curves still move at the end, train on more tokens.",
)


def so_far(points: Sequence[Point]) -> go.Figure:
    """`training` while it is under way."""
    names = ("step", "loss", "explained_variance", "dead")
    step, loss, variance, dead = (np.array([getattr(point, name) for point in points]) for name in names)
    return training(step, loss, variance, dead, "Training so far")
