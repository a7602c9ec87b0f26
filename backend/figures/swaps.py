"""A host with parts of a donor: curves over blocks, all ranges as a triangle, and how far freezing may go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.swaps import MEASURES, SPENT, Result, frozen_prefix
from backend.derived.swap_logits import Mode, Part
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

Measure = Literal["balanced_accuracy", "auc", "gap", "fraction_recovered"]
SHOWN: tuple[Measure, ...] = ("balanced_accuracy", "auc", "gap", "fraction_recovered")
UNITS: dict[Measure, str] = {
    "balanced_accuracy": "balanced accuracy (%)",
    "auc": "AUC",
    "gap": "gap (logits)",
    "fraction_recovered": "fraction recovered of the gap",
}
PARTS: dict[Part, str] = {
    "block": "whole block",
    "attn": "attention",
    "mlp": "MLP",
    "embed": "embeddings",
    "final_norm": "final norm",
    "head": "head",
}
_LINES: dict[Mode, tuple[str, str, str]] = {
    "single": ("of block b alone", "#7a5cd6", "circle"),
    "up_to": ("of blocks 0 to b", theme.PAIR[0], "circle"),
    "from": ("of blocks b to the last", theme.PAIR[1], "square"),
}


def values(result: Result, measure: Measure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, low and high of each swap, balanced accuracy in percent."""
    scale = 100 if measure == "balanced_accuracy" else 1
    value, low, high = (scale * end for end in getattr(result, measure).ends)
    return value, low, high


def levels(result: Result, measure: Measure) -> tuple[float, float]:
    """Host and donor as they are, on the scale of `values`; NaN for a donor without a head."""
    if measure == "fraction_recovered":
        return 0.0, 1.0
    host, donor = result.levels[:, MEASURES.index(measure)] * (100 if measure == "balanced_accuracy" else 1)
    return float(host), float(donor)


CUMULATIVE_GUIDE = Guide(
    "The host with more and more blocks of the donor, from either end, with 95 % intervals.",
    "The curves miss the donor where embeddings, final norm or head changed too.",
    "One curve swaps from the bottom up to block b. The other swaps from block b to the top.",
)


def curves(results: Mapping[Mode, Result], part: Part, measure: Measure, host: str, donor: str) -> go.Figure:
    """The measure over blocks b with its 95 % interval, one curve per mode, between host and donor as they are."""
    host, donor = theme.literal(host), theme.literal(donor)
    traces: list[dict[str, Any]] = []
    blocks = 1
    for mode, result in results.items():
        label, colour, symbol = _LINES[mode]
        name = f"{PARTS[part]} {label}" if part != "block" else label.removeprefix("of ")
        x = np.asarray(result.first if mode == "from" else result.last)
        blocks = max(blocks, int(x.max()) + 1)
        traces += _curve(x, values(result, measure), name, colour, symbol)
    ends = levels(next(iter(results.values())), measure)
    traces += [
        drawing.across([-0.4, blocks - 0.6], at, f"{role} as it is: {name}", dash)
        for role, name, at, dash in zip(("host", "donor"), (host, donor), ends, ("dot", "dash"), strict=True)
        if not np.isnan(at)
    ]
    return theme.figure(
        traces,
        f"{host} with parts of {donor}: {UNITS[measure]}",
        height=380,
        yaxis=theme.axis(UNITS[measure]),
        **_layout(blocks),
    )


LOSSES_GUIDE = Guide(
    "The accuracy lost by restoring the lower blocks, with paired 95 % intervals.",
    "The prefix was chosen on these texts, so its loss looks too small.",
    "A model trained with these blocks frozen may do better.",
)


def losses(up_to: Result, host: str, donor: str) -> go.Figure:
    """Balanced accuracy lost, in points, by putting blocks 0 to b back to the donor, against what may be spent."""
    x, triple = np.asarray(up_to.last), [100 * end for end in up_to.lost.ends]
    traces = _curve(x, (triple[0], triple[1], triple[2]), "blocks 0 to b put back", theme.PAIR[0], "circle")
    traces.append(drawing.across([-0.4, len(x) - 0.6], 100 * SPENT, f"{100 * SPENT:.0f} point", "dash"))
    at = frozen_prefix(up_to)
    if at is not None:
        traces.append(drawing.ring([at], [float(triple[0][at])], 15, name="the deepest prefix that costs no more"))
    return theme.figure(
        traces,
        f"Points of balanced accuracy that {theme.literal(host)} loses with lower blocks of {theme.literal(donor)}",
        height=380,
        yaxis=theme.axis("points lost"),
        **_layout(len(x)),
    )


def _curve(
    x: np.ndarray, triple: tuple[np.ndarray, np.ndarray, np.ndarray], name: str, colour: str, symbol: str
) -> list[dict[str, Any]]:
    """Value, low and high as a band and a line over blocks."""
    hover = f"b = %{{x}}: %{{y:.3g}}{_limits(triple[1])}"
    return drawing.banded(x, triple, name, drawing.stroke(colour), hover, {"size": 7, "symbol": symbol})


def _limits(low: np.ndarray) -> str:
    """How pointing shows an interval; nothing while there are none."""
    return drawing.LIMITS if np.isfinite(low).any() else ""


def _layout(blocks: int) -> dict[str, Any]:
    return {"xaxis": theme.layer_axis(blocks, title="block b"), **drawing.below(64)}


def triangle_guide(donor_has_head: bool) -> Guide:
    """Return the guide of `triangle`."""
    colours = "Olive is like the host, violet is like the donor."
    if not donor_has_head:
        colours = "Grey is like the host, violet is above it and olive below."
    return Guide(
        "The host with a range of blocks taken from the donor; single blocks are on the diagonal.",
        "Some of so many ranges stand out by chance, so look for regions.",
        f"{colours} Point at a cell to see its interval.",
    )


def triangle(result: Result, part: Part, measure: Measure, host: str, donor: str) -> go.Figure:
    """Every contiguous range at (first block, last block); colours lead from the host as it is to the donor."""
    blocks = int(result.last.max()) + 1
    value, low, high = values(result, measure)
    matrix, limits = np.full((blocks, blocks), np.nan), np.full((blocks, blocks, 2), np.nan)
    matrix[result.last, result.first] = value
    limits[result.last, result.first] = np.stack([low, high], axis=1)
    at_host, at_donor = levels(result, measure)
    if np.isnan(at_donor):  # a donor without a head: violet is what is far from the host
        at_donor = at_host
    upwards = at_donor >= at_host
    scale = theme.ENDS if upwards else [[1 - at, colour] for at, colour in reversed(theme.ENDS)]
    spread = float(max(abs(value - (at_host + at_donor) / 2).max(initial=0.0), abs(at_donor - at_host) / 2, 1e-9))
    middle = (at_host + at_donor) / 2
    what = "" if part == "block" else f" ({PARTS[part]} only)"
    trace = drawing.heatmap(
        matrix,
        np.arange(blocks),
        np.arange(blocks),
        f"blocks %{{x}} to %{{y}}: %{{z:.3g}}{_limits(low)}<extra></extra>",
        scale,
        customdata=limits.astype(np.float32),
        zmin=middle - spread,
        zmax=middle + spread,
        hoverongaps=False,
    )
    return theme.figure(
        [trace],
        f"{theme.literal(host)} with a range of blocks of {theme.literal(donor)}{what}: {UNITS[measure]}",
        height=170 + 26 * max(8, blocks),
        xaxis=theme.layer_axis(blocks, title="first block taken", showgrid=False),
        yaxis=theme.layer_axis(blocks, title="last block taken", showgrid=False),
    )


def advice(up_to: Result, host: str, donor: str) -> str:
    """How many blocks from the bottom can be the donor's again while losing at most one point of balanced accuracy."""
    blocks = len(up_to.last)
    at = frozen_prefix(up_to)
    if at is None:
        return (
            f"No prefix can be put back: already block 0 of {donor} costs {host} {_points(up_to, 0)}, more than "
            f"{100 * SPENT:.0f} point."
        )
    which = f"Blocks 0 to {at}" if at else "Block 0"
    rest = f"the upper {blocks - at - 1} of {blocks} blocks carry" if at < blocks - 1 else "embeddings and head carry"
    caution = "" if up_to.lost.high[at] <= SPENT else " More texts would tell whether it really is so little."
    return (
        f"{which} of {host} can be put back to {donor} at a loss of {_points(up_to, at)}: {rest} what training "
        f"changed, and the others might as well have stayed frozen.{caution}"
    )


def _points(result: Result, at: int) -> str:
    lost, low, high = (round(100 * float(end[at]), 1) + 0.0 for end in result.lost.ends)
    return f"{lost:.1f} points of balanced accuracy ({low:.1f} to {high:.1f})"
