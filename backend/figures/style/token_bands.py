"""Draw a text with bands of layers under every token: the last layer on top, the first at the bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.figures.style import text, theme

LINE = 64
"""Characters in a line: what fits beside the sidebar on a small screen."""
GAP, HEAD = 6, 22


@dataclass(frozen=True, eq=False)
class Band:
    """One number for every token and layer, `values` [tokens, layers], with what hovering says of each.

    `scale` names the colour axis; bands of one scale stand together.
    """

    name: str
    values: np.ndarray
    said: np.ndarray
    scale: str = "coloraxis"


def draw(pieces: Sequence[str], bands: Sequence[Band], title: str, scales: dict[str, Any]) -> go.Figure:
    """The text in lines, under each the bands; `scales` are the colour axes."""
    layers = bands[0].values.shape[1]
    row = max(3, min(8, round(52 / layers)))
    high = row * layers
    lines = text.lay_out(pieces, LINE)
    pitch = HEAD + len(bands) * (high + GAP) + 10
    traces: list[dict[str, Any]] = []
    ticks: list[tuple[float, str]] = []
    for i, line in enumerate(lines):
        index = [one.index for one in line]
        tops = [i * pitch + HEAD + k * (high + GAP) for k in range(len(bands))]
        placed = zip(tops, bands, strict=True)
        for scale, together in groupby(placed, key=lambda one: one[1].scale):
            group = list(together)
            z, said = _stacked([band.values[index] for _, band in group], [band.said[index] for _, band in group])
            rows = [top + row * layer for top, _ in group for layer in range(layers + 1)]
            traces.append(heat(line, rows, z, said, scale))
        ticks += [(top + high / 2, band.name) for top, band in zip(tops, bands, strict=True)]
    heights = [i * pitch + HEAD / 2 for i in range(len(lines))]
    traces.append(text.labels(lines, pieces, heights))
    total = len(lines) * pitch
    return figure(traces, title, total, **scales, **text.plain_axes(LINE, total, ticks))


def figure(traces: list[dict[str, Any]], title: str, height: int, **layout: Any) -> go.Figure:
    """`height` pixels of text below the title and the colour bars."""
    above, below = 96, 14
    total = above + height + below
    margin = {"l": 8, "r": 8, "t": above, "b": below}
    drawn = theme.figure(traces, title, height=total, margin=margin, **layout)
    return drawn.update_layout(title_y=1 - 34 / total)  # plotly lifts it by a horizontal colour bar's height, 28


def heat(
    line: Sequence[text.Cell], rows: Sequence[int], z: np.ndarray, said: list[list[str]], scale: str
) -> dict[str, Any]:
    """One line's cells: `z` and `said` are [rows, tokens], `rows` the edges of the rows in pixels."""
    return {
        "type": "heatmap",
        "x": text.edges(line),
        "y": list(rows),
        "z": np.round(z, 4).astype(np.float32),
        "text": np.array(said, dtype=object),
        "coloraxis": scale,
        "xgap": 1,
        "hovertemplate": "%{z:.3g}: %{text}<extra></extra>",
        "hoverongaps": False,
    }


def reach(values: Sequence[np.ndarray], middle: float = 0.0) -> float:
    """How far from `middle` colours go; one in a hundred cells may lie beyond."""
    spread = np.abs(np.concatenate([one.ravel() for one in values]) - middle)
    return max(float(np.nanquantile(spread, 0.99)) if np.isfinite(spread).any() else 1.0, 1e-6)


def scale(low: float, high: float, title: str, x: float, colours: Any = theme.DIVERGING) -> dict[str, Any]:
    """A colour axis with its bar above the picture, from `x` (0..1) on."""
    return {
        "colorscale": colours,
        "cmin": low,
        "cmax": high,
        "colorbar": {
            "orientation": "h",
            "title": {"text": title, "side": "top", "font": {"size": 11}},
            "x": x,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "len": 0.4,
            "thickness": 8,
            "outlinewidth": 0,
            "nticks": 5,
            "tickfont": {"size": 10},
        },
    }


def _stacked(values: Sequence[np.ndarray], said: Sequence[np.ndarray]) -> tuple[np.ndarray, list[list[str]]]:
    """Bands above each other, the last layer on top, with an empty row between two."""
    rows: list[np.ndarray] = []
    texts: list[list[str]] = []
    for k, (value, shown) in enumerate(zip(values, said, strict=True)):
        if k:
            rows.append(np.full(len(value), np.nan))
            texts.append([""] * len(value))
        rows += [*value.T[::-1]]
        texts += shown.T[::-1].tolist()
    return np.stack(rows), texts
