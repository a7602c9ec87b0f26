"""Draw gain against price, over checkpoints and over blocks, and the gain that small sets of blocks keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.side_effects import Result
from backend.figures.style import drawing, seed_floor, theme
from backend.figures.style.guide import Guide
from backend.stats.estimate import Estimate, stacked

GUIDE = Guide(
    "The gain on the task (up) against the change of neutral predictions (right), both from the reference.",
    "The neutral sentences are short and plain; a price on code or other languages stays unseen.",
    "Up and left is cheap. Bars are 95 % intervals. A floor is one seed against another. "
    "A block is the reference with that block of the checkpoint.",
)
SETS_GUIDE = Guide(
    "The share of the gain that the reference keeps with the best few blocks of the checkpoint.",
    "Greedy search adds one block at a time, so another set of the same size may keep more.",
    "Blocks are chosen on some texts and judged on the others. Embeddings and head stay the reference's.",
)


def complete(result: Result) -> bool:
    """Return whether the checkpoint has a gain and a price."""
    return bool(np.isfinite(result.gain.value[1]) and np.isfinite(result.kl.value[1]))


def checkpoints(
    results: Sequence[Result],
    names: Sequence[str],
    places: Sequence[int],
    count: int,
    seeds: Sequence[tuple[str, Result]] = (),
) -> go.Figure:
    """Draw one point per checkpoint, joined in their order, and one per pair of `seeds`: name and result."""
    gain, kl = (stacked([getattr(result, name)[1] for result in results]) for name in ("gain", "kl"))
    colours = [theme.checkpoint_colour(place, count) for place in places]
    trace = _points(gain, kl, theme.literals(names), colours) | {
        "mode": "lines+markers+text",
        "line": drawing.stroke(theme.FAINT, 1.5),
    }
    floors = [_points(floor.gain[1:2], floor.kl[1:2], [twins], [seed_floor.COLOUR]) for twins, floor in seeds]
    return _drawn([trace, *floors], "Gain and price of each checkpoint")


def blocks(result: Result, name: str, colour: str, chosen: Sequence[int] = ()) -> go.Figure:
    """Draw one point per block, and the whole checkpoint; rings mark the chosen blocks."""
    gain, kl = result.gain[2:], result.kl[2:]
    named = [f"block {block}" for block in range(len(gain.value))]
    at = list(chosen)
    traces = [
        _points(gain, kl, named, [theme.QUIET] * len(named), result),
        _points(result.gain[1:2], result.kl[1:2], [theme.literal(name)], [colour]),
        drawing.ring(kl.value[at], gain.value[at], 15, showlegend=False),
    ]
    return _drawn(traces, f"{theme.literal(name)}: gain and price of each block alone")


def _points(
    gain: Estimate[Any], kl: Estimate[Any], names: Sequence[str], colours: Sequence[str], drawn: Result | None = None
) -> dict[str, Any]:
    """Return points, with words that do not lie on each other; `drawn` holds all of the picture, if not these."""
    x, y = (kl.value, gain.value) if drawn is None else (drawn.kl.value[1:], drawn.gain.value[1:])
    shown = _apart(
        kl.value, gain.value, (float(np.nanmax(x, initial=0)), float(np.ptp(np.append(y[np.isfinite(y)], 0))))
    )
    return drawing.points(
        kl.value.astype(np.float32),
        gain.value.astype(np.float32),
        {"size": 9, "color": list(colours)},
        f"%{{text}}: gain %{{y:.3g}} nats{drawing.LIMITS}, KL %{{x:.3g}} "
        "(%{customdata[2]:.3g} to %{customdata[3]:.3g})",
        mode="markers+text",
        error_x=drawing.error_bars(*kl.ends, color=theme.FAINT),
        error_y=drawing.error_bars(*gain.ends, color=theme.FAINT),
        text=list(names),
        texttemplate=["%{text}" if one else "" for one in shown],
        textposition="top center",
        textfont={"size": 10},
        customdata=drawing.ends(gain.low, gain.high, kl.low, kl.high),
        showlegend=False,
    )


def _apart(x: np.ndarray, y: np.ndarray, size: tuple[float, float]) -> list[bool]:
    """Return which points get words in a picture of that size: those with larger gain first, away from others."""
    reach = np.array([max(size[0], 1e-9) / 12, max(size[1], 1e-9) / 14])
    places, kept = np.stack([x, y], axis=1), list[int]()
    for i in np.argsort(-y).tolist():
        if np.isfinite(places[i]).all() and all((np.abs(places[i] - places[j]) > reach).any() for j in kept):
            kept.append(i)
    return [i in kept for i in range(len(x))]


def _drawn(traces: list[dict[str, Any]], title: str) -> go.Figure:
    return theme.figure(
        traces,
        title,
        height=360,
        shapes=[drawing.level(0, dash="dot")],
        xaxis=theme.axis("KL from the reference on neutral texts (nats per token)", rangemode="tozero"),
        yaxis=theme.axis("gain of the gap (nats)"),
    )


def sets(result: Result, name: str, share: float) -> go.Figure:
    """Draw the held-out share of the gain over the size of the set."""
    sizes = np.arange(1, len(result.order) + 1)
    value, low, high = (100 * end for end in result.kept.ends)
    traces = drawing.banded(
        sizes,
        (value, low, high),
        "kept",
        drawing.stroke(theme.DIRECTION),
        "%{customdata[2]:.0f} added, size %{x}: %{y:.3g} %" + drawing.LIMITS,
        {"size": 7},
        customdata=drawing.ends(low, high, np.array(result.order)),
        showlegend=False,
    )
    ticks = [f"{size}: +{block}" for size, block in zip(sizes.tolist(), result.order, strict=True)]
    return theme.figure(
        traces,
        f"{theme.literal(name)}: gain kept by a few blocks (held-out texts)",
        height=320,
        shapes=[drawing.level(100 * share, dash="dot")],
        xaxis=theme.axis("size of the set: block added", tickvals=sizes.tolist(), ticktext=ticks),
        yaxis=theme.axis("% of the gain", rangemode="tozero"),
    )


def in_words(result: Result, name: str) -> str:
    """Return the answer in words: the gain and its price."""
    said: list[str] = []
    if np.isfinite(result.gain.value[1]):
        value, low, high = (float(end[1]) for end in result.gain.ends)
        said.append(f"**{name}** gained {value:.3g} nats of gap ({low:.3g} to {high:.3g})")
    if np.isfinite(result.kl.value[1]):
        before, after = (float(result.perplexity.value[i]) for i in (0, 1))
        price = (
            f"{float(result.kl.value[1]):.3g} nats of KL per neutral token; perplexity {before:.4g} became {after:.4g}"
        )
        said.append(f"at a price of {price}" if said else f"**{name}** moved by {price}")
    return " ".join(said) + "."


def beyond_seed(floor: Result, twin: str, other: str) -> str:
    """Say what gain and price a mere change of seed has."""
    said: list[str] = []
    for estimate, unit in ((floor.gain, "nats of gap"), (floor.kl, "nats of KL")):
        value, low, high = (float(end[1]) for end in estimate.ends)
        if np.isfinite(value):
            said.append(f"{value:.3g} {unit} ({low:.3g} to {high:.3g})")
    return f"A mere change of seed, that of **{twin}** to **{other}**, makes {' and '.join(said)}."


def kept_in_words(result: Result, share: float) -> str:
    """Return the smallest set of blocks that keeps that share of the gain, in a sentence."""
    smallest = result.smallest(share)
    if smallest is None:
        return f"No set of blocks keeps {100 * share:.0f} % of the gain on held-out texts."
    listed = ", ".join(map(str, smallest))
    blocks = "block" if len(smallest) == 1 else "blocks"
    kept = 100 * float(result.kept.value[len(smallest) - 1])
    return f"The reference with only {blocks} {listed} of the checkpoint keeps {kept:.0f} % of the gain."
