"""Traces and shapes that several figures draw: lines, heat maps, rings, error bars, levels, and legends below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend.figures.style import theme

RIGHT: dict[str, Any] = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"}
"""A legend above the picture, at its right."""
LIMITS = " (%{customdata[0]:.3g} to %{customdata[1]:.3g})"
"""How pointing shows an interval, of which customdata holds the ends."""
NAMES: dict[str, Any] = {"autorange": "reversed", "automargin": True, "showgrid": False, "type": "category"}
"""An axis with a row per name, the first on top."""


def line(
    x: Any,
    y: np.ndarray,
    name: str,
    stroke: dict[str, Any],
    hover: str | None = None,
    marker: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a line with a marker at each point, dotted and dashed lines included. `name` is safe HTML.

    `hover` is the template of what pointing shows, before the name unless it has an <extra>; None shows nothing.
    """
    trace = {"type": "scatter", "mode": "lines+markers", "x": x, "y": y.astype(np.float32), "line": stroke}
    return trace | _named(name, hover) | ({} if marker is None else {"marker": marker}) | more


def _named(name: str | None, hover: str | None) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    if hover is None:
        return named | {"hoverinfo": "skip"}
    return named | {"hovertemplate": hover if "<extra>" in hover else f"{hover}<extra>{name or ''}</extra>"}


def points(
    x: Any, y: Any, marker: dict[str, Any], hover: str | None = None, name: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return points; `name` and `hover` as in `line`, and points without a name show none."""
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "marker": marker} | _named(name, hover) | more


def entry(name: str, marker: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an entry of the legend alone, for points with that marker."""
    return {"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None], "marker": marker} | more


def bars(x: Any, y: Any, colour: Any, hover: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    """Return bars that lie, of one colour or a colour each; `name` and `hover` as in `points`."""
    drawn = {"type": "bar", "orientation": "h", "x": x, "y": y, "marker": {"color": colour}}
    return drawn | _named(name, hover) | more


def banded(
    x: Any,
    triple: Sequence[np.ndarray],
    name: str,
    stroke: dict[str, Any],
    hover: str,
    marker: dict[str, Any] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """Return the band of an interval, and last its line.

    `triple` is value, low and high; customdata are low and high unless `more` names it.
    """
    value, low, high = triple
    drawn = line(x, value, name, stroke, hover, marker, **({"customdata": ends(low, high)} | more))
    return [*theme.band(x, low, high, stroke["color"]), drawn]


def dotted(x: Any, y: np.ndarray, colour: str) -> dict[str, Any]:
    """Return the chance level of a curve, which `key` explains in the legend."""
    return line(x, y, "chance", stroke(colour, 1.6, "dot"), mode="lines", showlegend=False)


def across(sides: Sequence[float], y: float, name: str, dash: str, hover: str = "%{y:.3g}") -> dict[str, Any]:
    """Return a level with a name in the legend, from side to side."""
    return line(sides, np.full(2, y), name, stroke(theme.QUIET, 1.6, dash), hover, mode="lines")


def key(name: str, dash: str) -> dict[str, Any]:
    """Return an entry of the legend alone, for lines of any colour with that dash."""
    return line([None], np.array([np.nan]), name, stroke(theme.QUIET, 1.6, dash), mode="lines", showlegend=True)


def stroke(colour: str, width: float = 2.2, dash: str | None = None) -> dict[str, Any]:
    """Return how a line looks."""
    return {"color": colour, "width": width} | ({} if dash is None else {"dash": dash})


def ends(*columns: Any) -> np.ndarray:
    """Return columns side by side as customdata: an interval's low and high, then what else is shown."""
    return np.stack(columns, axis=1).astype(np.float32)


def error_bars(value: np.ndarray, low: np.ndarray, high: np.ndarray, **look: Any) -> dict[str, Any]:
    """Return an interval as error bars."""
    return {"type": "data", "array": high - value, "arrayminus": value - low} | ({"thickness": 1.2, "width": 3} | look)


def heatmap(
    values: np.ndarray, x: Any, y: Any, hover: str, colours: theme.Scale | None = None, **more: Any
) -> dict[str, Any]:
    """Return a heat map with gaps between its cells; undefined cells are empty. `hover` is a whole template.

    Without `colours` of its own it has those of the picture's colour axis.
    """
    cells = {"type": "heatmap", "z": theme.cells(values), "x": x, "y": y, "xgap": 1, "ygap": 1, "hovertemplate": hover}
    scale = {"coloraxis": "coloraxis"} if colours is None else {"colorscale": colours, "colorbar": bar()}
    return cells | scale | more


def numbers(
    heat: Mapping[str, Any],
    texts: Sequence[Sequence[str]],
    low: float,
    high: float,
    colours: theme.Scale,
) -> list[dict[str, Any]]:
    """Return the texts of a heat map's cells: in the page's own ink on faint cells, else in black or white.

    `heat` is the trace, `low` and `high` the ends of its `colours`.
    """
    z = np.array(heat["z"], dtype=float)
    share = np.clip((z - low) / ((high - low) or 1.0), 0, 1)
    inks = [[theme.ink_in(colours, one) if np.isfinite(one) else None for one in row] for row in share]
    axes = {axis: heat[axis] for axis in ("xaxis", "yaxis") if axis in heat}
    found = []
    for ink in (None, "#10131a", "#ffffff"):
        cells = [(r, c) for r, row in enumerate(inks) for c, one in enumerate(row) if one == ink and texts[r][c]]
        if cells:
            x, y = [heat["x"][c] for _, c in cells], [heat["y"][r] for r, _ in cells]
            font = {"size": 11} | ({} if ink is None else {"color": ink})
            found.append(words(x, y, [texts[r][c] for r, c in cells], font, **axes))
    return found


def words(x: Any, y: Any, said: Sequence[str], font: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return texts at their places; they are safe HTML."""
    drawn = {"type": "scatter", "mode": "text", "x": x, "y": y, "text": said, "textfont": font}
    return drawn | {"hoverinfo": "skip", "showlegend": False} | more


def targets(values: np.ndarray, names: Sequence[str], hover: str) -> dict[str, Any]:
    """Return invisible points over the cells of a heat map [rows, columns], because plotly selects only points."""
    rows, columns = (at.ravel() for at in np.indices(values.shape))
    return points(
        columns,
        [names[row] for row in rows.tolist()],
        {"size": 26, "symbol": "square", "opacity": 0},
        hover,
        customdata=np.stack([rows, columns], axis=1).tolist(),  # lists: of an array a click returns a dict
        text=[f"{value:.3g}" if np.isfinite(value) else "undefined" for value in values.ravel()],
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        showlegend=False,
    )


def bar(**more: Any) -> dict[str, Any]:
    """Return a colour bar."""
    return {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 10}} | more


def by_checkpoint(
    matrix: np.ndarray, names: Sequence[str], starts: Sequence[tuple[int, int]], digits: str, **more: Any
) -> list[dict[str, Any]]:
    """Return a heat map of checkpoint x layer with a ring at each (layer, checkpoint) where one leaves chance.

    `digits` format a value, such as `.2f`. A click on a cell selects a point whose customdata is (checkpoint, layer).
    """
    cells = f"%{{y}}, layer %{{x}}: %{{z:{digits}}}<extra></extra>"
    layers = np.arange(matrix.shape[1])
    return [
        heatmap(matrix, layers, list(names), cells, theme.SEQUENTIAL, zmin=0, colorbar=bar(len=1), **more),
        ring(
            [layer for layer, _ in starts],
            [names[i] for _, i in starts],
            13,
            "%{y} leaves chance at layer %{x}<extra></extra>",
            name="leaves chance here",
            showlegend=True,
            customdata=[(i, layer) for layer, i in starts],
        ),
        targets(matrix, names, "%{y}, layer %{x}: %{text}<extra></extra>"),
    ]


def ring(x: Any, y: Any, size: int, hover: str | None = None, colour: str = theme.RING, **more: Any) -> dict[str, Any]:
    """Return rings around points; `hover` is a whole template, None shows nothing."""
    marker = {"symbol": "circle-open", "size": size, "color": colour, "line": {"width": 2.5}}
    return points(x, y, marker, hover, **more)


def level(y: float | int, **look: Any) -> dict[str, Any]:
    """Return a horizontal line across the picture."""
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": {"color": theme.QUIET} | look}


def upright(x: float | int, **look: Any) -> dict[str, Any]:
    """Return a vertical line across the picture."""
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x, "line": {"color": theme.QUIET} | look}


def beside(x: float, words: str) -> dict[str, Any]:
    """Return words at the top of an upright line, on its left."""
    place = {"x": x, "y": 1, "yref": "paper", "xanchor": "right", "yanchor": "bottom"}
    return {"text": words, "showarrow": False, "font": {"size": 11}, **place}


def frame(column: int, row: int) -> dict[str, Any]:
    """Return a frame around one cell of a heat map."""
    ends = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", **ends, "line": {"color": theme.RING, "width": 2}}


def below(left: int = 48, ticks: int = 44) -> dict[str, Any]:
    """Return a layout with the legend at the bottom, below `ticks` pixels for the ticks and title of the x axis.

    However many rows the legend has, its place is the bottom of the figure: the picture above it gets smaller.
    """
    return {
        "legend": {"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"},
        "margin": {"l": left, "r": 12, "t": 40, "b": ticks},
    }
