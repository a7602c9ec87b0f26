"""A typed text as one reads it: every token with its layers, and every word with what it adds to the lens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.review import Parts, Tokens
from backend.figures import _text, _theme
from backend.figures.review import against, sides

Heat = Literal["lens", "projection", "next"]
HEATS: dict[Heat, str] = {"lens": "Lens", "projection": "Along the direction", "next": "Probability of what came next"}
TOKEN_LINE, WORD_LINE = 64, 46
"""Characters in a line: what fits beside the sidebar on a small screen."""
HIGHLIGHT = 0.55
"""Opacity of the strongest highlight: text of either theme keeps a contrast of 4.5 on it."""


def tokens(
    results: Sequence[Tokens],
    names: Sequence[str],
    pieces: Sequence[str],
    heat: Heat,
    words: Sequence[str],
    at: int = 0,
) -> go.Figure:
    """The text in lines; under each token its layers, the last on top: reference, checkpoint, their difference."""
    values = [_values(one, heat, at) for one in results]
    layers = values[0].shape[1]
    cell = max(3, min(8, round(52 / layers)))
    band, gap, head = cell * layers, 6, 22
    bands = [*names, f"{names[1]} − {names[0]}"] if len(values) > 1 else list(names)
    lines = _text.lay_out(pieces, TOKEN_LINE)
    pitch = head + len(bands) * (band + gap) + 10
    named = [_text.shown(piece, 24) for piece in pieces]
    hovers = [_hovers(one, named) for one in results]
    traces, ticks = [], []
    for i, line in enumerate(lines):
        index = [one.index for one in line]
        top = i * pitch + head
        stacked, said = _stacked([one[index] for one in values], [one[index] for one in hovers])
        rows = [edge for k in range(len(values)) for edge in _edges(top + k * (band + gap), cell, layers)]
        traces.append(_heat(line, rows, stacked, said, "coloraxis"))
        if len(values) > 1:
            below = top + 2 * (band + gap)
            change = (values[1] - values[0])[index].T[::-1]
            said = [[f"{named[t]}, layer {layer}, difference" for t in index] for layer in reversed(range(layers))]
            traces.append(_heat(line, _edges(below, cell, layers), change, said, "coloraxis2"))
        ticks += [(top + k * (band + gap) + band / 2, name) for k, name in enumerate(bands)]
    heights = [i * pitch + head / 2 for i in range(len(lines))]
    traces.append(_text.labels(lines, pieces, heights))
    total = len(lines) * pitch
    unit = {"lens": "lens (nats)", "projection": "class distances", "next": "probability"}[heat]
    scales: dict[str, Any] = {"coloraxis": _scale(heat, values, unit, 0.0)}
    if len(values) > 1:
        scales["coloraxis2"] = _scale(None, [values[1] - values[0]], "difference", 0.5)
    return _figure(
        traces,
        f"Every token at every layer: {_unit(heat, words, at)}",
        total,
        **scales,
        **_text.plain_axes(TOKEN_LINE, total, ticks),
    )


def _figure(traces: list[dict[str, Any]], title: str, height: int, **layout: Any) -> go.Figure:
    """`height` pixels of text below the title and the colour bars."""
    above, below = 96, 14
    total = above + height + below
    margin = {"l": 8, "r": 8, "t": above, "b": below}
    drawn = _theme.figure(traces, title, height=total, margin=margin, **layout)
    return drawn.update_layout(title_y=1 - 34 / total)  # plotly lifts it by a horizontal colour bar's height, 28


def _edges(top: int, cell: int, layers: int) -> list[int]:
    """The edges of a band's rows, from the top down."""
    return [top + cell * layer for layer in range(layers + 1)]


def _values(result: Tokens, heat: Heat, at: int) -> np.ndarray:
    """[tokens, layers] of what is on show."""
    if heat == "next":
        return result.next_probability.astype(np.float64)
    return (result.lens if heat == "lens" else result.place)[:, :, at]


def _unit(heat: Heat, words: Sequence[str], at: int) -> str:
    low, high = sides(words, at)
    along = f"place along the direction (0 = mean of {_text.shown(low)}, 1 = {_text.shown(high)})"
    units = {
        "lens": f"lens, {against(words, at)} (nats)",
        "projection": along,
        "next": "probability of what came next",
    }
    return units[heat]


def _hovers(result: Tokens, named: Sequence[str]) -> np.ndarray:
    """[tokens, layers] of what hovering says: the token, the layer, the likeliest next tokens."""
    safe = [_text.shown(word, 24) for word in result.words]
    said = np.empty(result.top.shape[:2], dtype=object)
    shares = np.round(100 * result.top_probability.astype(np.float64)).astype(int).tolist()
    for t, of_token in enumerate(result.top.tolist()):
        for layer, best in enumerate(of_token):
            following = ", ".join(f"{safe[w]} {share} %" for w, share in zip(best, shares[t][layer], strict=True))
            said[t, layer] = f"{named[t]}, layer {layer}<br>{following}"
    return said


def _stacked(values: Sequence[np.ndarray], hovers: Sequence[np.ndarray]) -> tuple[np.ndarray, list[list[str]]]:
    """Bands above each other, the last layer on top, with an empty row between two."""
    rows: list[np.ndarray] = []
    said: list[list[str]] = []
    for k, (value, hover) in enumerate(zip(values, hovers, strict=True)):
        if k:
            rows.append(np.full(len(value), np.nan))
            said.append([""] * len(value))
        rows += [*value.T[::-1]]
        said += hover.T[::-1].tolist()
    return np.stack(rows), said


def _heat(
    line: Sequence[_text.Cell], rows: Sequence[int], z: np.ndarray, hover: list[list[str]], scale: str
) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "x": _text.edges(line),
        "y": list(rows),
        "z": np.round(z, 4).astype(np.float32),
        "text": np.array(hover, dtype=object),
        "coloraxis": scale,
        "xgap": 1,
        "hovertemplate": "%{z:.3g}: %{text}<extra></extra>",
        "hoverongaps": False,
    }


def _scale(heat: Heat | None, values: Sequence[np.ndarray], title: str, x: float) -> dict[str, Any]:
    """A colour axis with its bar above the picture; one in a hundred cells may lie beyond its ends."""
    middle = 0.5 if heat == "projection" else 0.0
    spread = np.abs(np.concatenate([one.ravel() for one in values]) - middle)
    reach = float(np.nanquantile(spread, 0.99)) if np.isfinite(spread).any() else 1.0
    reach = max(reach, 1e-6)
    ends = (0.0, reach) if heat == "next" else (middle - reach, middle + reach)
    return {
        "colorscale": _theme.SEQUENTIAL if heat == "next" else _theme.DIVERGING,
        "cmin": ends[0],
        "cmax": ends[1],
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


def parts(
    results: Sequence[Parts], names: Sequence[str], texts: Sequence[str], layer: int, words: Sequence[str], at: int = 0
) -> list[go.Figure]:
    """The text of each checkpoint, every part highlighted by what it adds to the lens at a layer, on one scale."""
    return [
        _highlighted(one, name, texts, layer, words, at, _reach(results, layer, at))
        for one, name in zip(results, names, strict=True)
    ]


def grouped(texts: Sequence[str]) -> str:
    """What the guide adds where words were left out several at a time."""
    most = max(len(text.split()) for text in texts)
    return f" (the text is long, so {most} words in a row at a time)" if most > 1 else ""


def _reach(results: Sequence[Parts], layer: int, at: int) -> float:
    return max(1e-6, *(float(np.abs(one.effect[:, layer, at]).max()) for one in results))


def _highlighted(
    result: Parts, name: str, texts: Sequence[str], layer: int, words: Sequence[str], at: int, reach: float
) -> go.Figure:
    effect = result.effect[:, :, at]
    strongest = np.abs(effect).argmax(axis=1)
    pieces = [" " + " ".join(text.split()) for text in texts]
    lines = _text.lay_out(pieces, WORD_LINE)
    pitch = 26
    traces: list[dict[str, Any]] = []
    for i, line in enumerate(lines):
        index = [cell.index for cell in line]
        said = [
            f"{_text.shown(texts[k])}<br>layer {layer}: {effect[k, layer]:+.3g}<br>"
            f"most at layer {strongest[k]}: {effect[k, strongest[k]]:+.3g}"
            for k in index
        ]
        trace = _heat(line, [i * pitch + 2, i * pitch + pitch - 2], effect[index, layer][None], [said], "coloraxis")
        traces.append(trace | {"hovertemplate": "%{text}<extra></extra>", "xgap": 2})
    traces.append(_text.labels(lines, pieces, [(i + 0.5) * pitch for i in range(len(lines))]))
    scale = _scale(None, [np.array([reach])], f"towards {' ⟷ '.join(map(_text.shown, sides(words, at)))} (nats)", 0.0)
    scale["colorscale"] = [
        [0.0, _theme.veil(_theme.NEGATIVE, HIGHLIGHT)],
        [0.5, "rgba(150,156,168,0)"],
        [1.0, _theme.veil(_theme.POSITIVE, HIGHLIGHT)],
    ]
    return _figure(
        traces,
        f"{name}, layer {layer}: what each word adds to the lens",
        len(lines) * pitch,
        coloraxis=scale,
        **_text.plain_axes(WORD_LINE, len(lines) * pitch),
    )
