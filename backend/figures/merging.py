"""Say and draw how far a merged adapter is from the unmerged one, beside what the adapter changes."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from backend.analyses.merging import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "Relative differences at each layer: merged against unmerged, and switched off against unmerged.",
    "A few prompts cannot show a difference on other tokens.",
    "The lower curve is rounding where the merge is right; the upper curve is what the adapter does.",
)
LEAST = 1e-9
"""Shown for 0 on the logarithmic axis."""


def in_words(result: Result, name: str) -> str:
    """Return whether merged equals unmerged, up to what, and how much the adapter changes."""
    residual = f"{float(result.residual.max()):.1e}"
    apart = f"residuals by at most {residual} of their length"
    if not np.isnan(result.logit):
        apart += f" and logits by at most {result.logit:.1e}"
    if result.equal:
        said = (
            f"Merged onto its base, **{name}** equals the unmerged adapter up to rounding: over {result.tokens} tokens "
            f"they differ in {apart} (tolerance {result.tolerance:g})."
        )
    else:
        said = (
            f"Merged onto its base, **{name}** differs from the unmerged adapter: over {result.tokens} tokens in "
            f"{apart}, beyond the tolerance of {result.tolerance:g}. All pictures show the merged model; {ADVICE}."
        )
    if not result.acts:
        return f"{said} The adapter is inactive: switched off, the model computes the same. Save it after training."
    return f"{said} The adapter is active: it changes residuals by up to {100 * float(result.active.max()):.3g} %."


ADVICE = 'set dtype = "float32" in study.toml, or name a checkpoint that PEFT merged'
"""What helps an adapter that differs after merging."""


def draw(result: Result, name: str, colour: str) -> go.Figure:
    """Draw both relative differences by layer, on a logarithmic axis, with the tolerance."""
    layers, traces = np.arange(len(result.residual)), []
    for values, called, stroke in (
        (result.active, "switched off", drawing.stroke(theme.QUIET, 1.8)),
        (result.residual, "merged", drawing.stroke(colour, 2.6)),
    ):
        shown, hover = np.maximum(values, LEAST), f"{called}, layer %{{x}}: %{{customdata:.2g}}"
        traces.append(drawing.line(layers, shown, called, stroke, hover, {"size": 6}, customdata=values))
    return theme.figure(
        traces,
        f"{theme.literal(name)}: difference from the unmerged adapter",
        height=300,
        xaxis=theme.layer_axis(len(layers)),
        yaxis=theme.axis("over the residual's length", type="log", exponentformat="power"),
        shapes=[drawing.level(result.tolerance, dash="dot")],
        **drawing.below(),
    )
