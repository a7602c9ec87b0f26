"""Draw activation patching on one text: its tokens, and under each token its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.patching import LEAST, Result
from backend.figures.review import against
from backend.figures.style import text, theme, token_bands
from backend.figures.style.guide import Guide
from backend.vocabulary.display import visible

Measure = Literal["fraction_recovered", "moved"]
MEASURES: dict[Measure, str] = {
    "fraction_recovered": "Share of the way to the donor",
    "moved": "Change of the logit difference",
}
FARTHEST = 1.5
"""Shares beyond it, of either sign, have the strongest colour: few, and where host and donor are near each other."""


GUIDE = Guide(
    "The answer of the host with the donor's residual at one token and layer.",
    "A difference that is spread over many tokens shows at none, and shares need not add up.",
    "Under each token are its layers, the first at the bottom. "
    "Teal moves towards the donor, red away from it. Blue moves towards the class named first, orange away.",
)


def draw(
    results: Sequence[Result],
    names: Sequence[str],
    pieces: Sequence[str],
    measure: Measure,
    words: Sequence[str],
    at: int = 0,
) -> go.Figure:
    """Draw a band of layers per result under each token; `names` name donor and host."""
    names = theme.literals(names)
    named = [text.shown(piece, 24) for piece in pieces]
    values = [
        (result.fraction_recovered if measure == "fraction_recovered" else result.logit_diff - result.host)[:, :, at].T
        for result in results
    ]
    bands = [
        token_bands.Band(name, value, _said(result, named, at))
        for name, value, result in zip(names, values, results, strict=True)
    ]
    if measure == "fraction_recovered":
        far = min(max(1.0, token_bands.reach(values)), FARTHEST)
        colours = theme.QUALITY
        bar, unit = "0 host, 1 donor", f"share of the way to the donor's logit difference, {against(words, at)}"
    else:
        far, colours = token_bands.reach(values), theme.DIVERGING
        bar, unit = (
            "logit difference less the host's (nats)",
            f"change of the host's logit difference, {against(words, at)} (nats)",
        )
    scales: dict[str, Any] = {"coloraxis": token_bands.scale(-far, far, bar, 0.0, colours)}
    return token_bands.draw(pieces, bands, f"Activation patching: {unit}", scales)


def _said(result: Result, named: Sequence[str], at: int) -> np.ndarray:
    """Return what pointing shows after the value, [tokens, layers]."""
    logit_diff, share = result.logit_diff[:, :, at], result.fraction_recovered[:, :, at]
    ends = f"host {result.host[at]:.3g}, donor {result.donor[at]:.3g}".replace("nan", "no head")
    said = np.empty(logit_diff.T.shape, dtype=object)
    for t, name in enumerate(named):
        for layer in range(len(logit_diff)):
            of = "" if np.isnan(share[layer, t]) else f", {100 * share[layer, t]:.0f} % of the way"
            said[t, layer] = f"{name}, layer {layer}<br>logit difference {logit_diff[layer, t]:.3g} ({ends}){of}"
    return said


def in_words(result: Result, pieces: Sequence[str], host: str, donor: str, readout: int, at: int = 0) -> str:
    """Name the token that carries the difference, and the layer from which the readout position does."""
    share = result.fraction_recovered[:, :, at]
    if np.isnan(result.donor[at]):
        return f"{donor} has no head, so recovery is undefined. Only the logit difference of {host} is shown."
    if np.isnan(share).all():
        return (
            f"{host} and {donor} have similar logit differences ({result.host[at]:.2f} and "
            f"{result.donor[at]:.2f} nats, less than {LEAST} apart). There is no difference to locate."
        )
    said = f"{donor} into {host}: "
    passed = share[:, readout] >= 0.5
    below = np.flatnonzero(~passed)
    first = int(below[-1]) + 1 if len(below) else 0
    said += (
        f"at the readout position, half of the way is passed from layer {first} on"
        if first < len(share)
        else f"at the readout position, recovery never stays above half (at most {100 * share[:, readout].max():.0f} %)"
    )
    others = np.delete(share, readout, axis=1)
    if not others.size:
        return said + "."
    layer, token = divmod(int(others.argmax()), others.shape[1])
    token += token >= readout
    most = f"{100 * share[layer, token]:.0f} %, of “{visible(pieces[token].strip())}” at layer {layer}"
    return f"{said}. Of all other tokens, a single residual recovers at most {most}."
