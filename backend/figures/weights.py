"""Draw how much every weight matrix changed: a heat map of the blocks, and a strip for embeddings and head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.weights import OUTSIDE, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

Scale = Literal["change", "rank"]
SCALES: dict[Scale, str] = {"change": "relative change", "rank": "stable rank of the change"}
_LOG_ABOVE = 30
"""Largest over smallest value from which colours follow the logarithm."""
_MOST_WRITTEN = 16
"""Blocks up to which the numbers fit into the cells."""
_ENCODER = re.compile(r"^(bert|roberta|distilbert)\.(embeddings\.)?")
_ROW, _STRIP, _AROUND = 28, 96, 110


def values(result: Result, scale: Scale) -> np.ndarray:
    """Return the relative change of each matrix in percent, or its stable rank."""
    return 100 * result.relative_change if scale == "change" else result.stable_rank


GUIDE = Guide(
    "How much each weight matrix changed, or in how many directions it changed.",
    "A large change of weights need not change the model's behaviour, and a small change may.",
    "The relative change is the Frobenius norm of the change over that of the matrix before. "
    "The stable rank counts the directions of the change. "
    "Matrices outside the blocks are in the strip below. "
    "These numbers are exact, so they need no interval.",
)


def draw(result: Result, title: str, scale: Scale, everyone: Sequence[Result] = ()) -> go.Figure:
    """Draw matrix x block; all results of `everyone` share the colours, so that checkpoints can be compared."""
    title = theme.literal(title)
    shown = values(result, scale)
    rows = [name for i, name in enumerate(result.matrix) if result.layer[i] != OUTSIDE]
    rows = list(dict.fromkeys(rows))
    blocks = int(result.layer.max(initial=OUTSIDE)) + 1
    inside = np.full((len(rows), blocks), np.nan)
    outside: list[tuple[str, float]] = []
    for name, layer, value in zip(result.matrix, result.layer, shown, strict=True):
        if layer == OUTSIDE:
            outside.append((name, float(value)))
        else:
            inside[rows.index(name), layer] = value
    strip = np.array([[value for _, value in outside]])
    low, high, log = _limits([values(one, scale) for one in (result, *everyone)])
    height = _AROUND + _ROW * len(rows) + _STRIP
    share = _STRIP / (height - _AROUND)
    heats = [
        _heat(inside, np.arange(blocks), _short(rows), "block %{x}, %{y}", scale, log),
        _heat(strip, _short([name for name, _ in outside]), [" "], "%{x}", scale, log) | {"xaxis": "x2", "yaxis": "y2"},
    ]
    written = [drawing.numbers(one, one["text"], low, high, theme.SEQUENTIAL) for one in heats if one["text"]]
    return theme.figure(
        [*heats, *(trace for traces in written for trace in traces)],
        title,
        height=height,
        margin={"l": 48, "r": 12, "t": 40, "b": 30},
        coloraxis=_colours(low, high, log, scale),
        xaxis=theme.layer_axis(blocks, showgrid=False)
        | {"range": [-0.5, blocks - 0.5], "title": {"text": ""}, **_blocks(blocks)},
        yaxis=_names() | {"autorange": "reversed", "domain": [share, 1]},
        xaxis2=_names() | {"anchor": "y2"},
        yaxis2={"visible": False, "domain": [0, 0.36 * share], "anchor": "x2", "type": "category"},
    )


def _short(names: Sequence[str]) -> list[str]:
    """Shorten names: `attn.c_attn` for `attn.c_attn.weight`, `wte` for `transformer.wte.weight`.

    An encoder's are `pooler.dense` for `bert.pooler.dense.weight`, `word_embeddings` for those of its embeddings.
    """
    plain = [_ENCODER.sub("", name.removesuffix(".weight")) for name in names]
    return [name.rpartition(".")[2] if name.startswith(("transformer.", "model.")) else name for name in plain]


def _limits(arrays: Sequence[np.ndarray]) -> tuple[float, float, bool]:
    """Smallest and largest value of the colours, and whether they follow the logarithm."""
    results = np.concatenate(arrays)
    results = results[np.isfinite(results) & (results > 0)]
    if not results.size:
        return 0.0, 1.0, False
    low, high = float(results.min()), float(results.max())
    if high > _LOG_ABOVE * low:
        return float(np.log10(low)), float(np.log10(high)), True
    return 0.0, high, False


def _heat(matrix: np.ndarray, x: Any, y: Any, hover: str, scale: Scale, log: bool) -> dict[str, Any]:
    with np.errstate(divide="ignore", invalid="ignore"):
        coloured = np.where(matrix > 0, np.log10(matrix), np.nan) if log else matrix
    unit = " %" if scale == "change" else ""
    written = [[_number(value) for value in row] for row in matrix]
    return drawing.heatmap(
        coloured,
        x,
        y,
        hover + ": %{customdata}<extra></extra>",
        customdata=[[f"{number}{unit}" if number else "undefined" for number in row] for row in written],
        text=written if matrix.shape[1] <= _MOST_WRITTEN else [],
        hoverongaps=False,
    )


def _number(value: float) -> str:
    """Two or three figures, empty where there is no value."""
    return "" if np.isnan(value) else "0" if value == 0 else f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def _colours(low: float, high: float, log: bool, scale: Scale) -> dict[str, Any]:
    """The colour axis; its ticks are plain numbers on either scale."""
    bar = drawing.bar(title={"text": "%" if scale == "change" else "rank", "font": {"size": 10}})
    if log:
        steps = [step for power in range(int(np.floor(low)), int(np.ceil(high)) + 1) for step in (power, power + 0.5)]
        inside = [step for step in steps if low <= step <= high]
        bar |= {"tickvals": inside, "ticktext": [_number(10.0**step) for step in inside]}
    return {"colorscale": theme.SEQUENTIAL, "cmin": low, "cmax": high, "colorbar": bar}


def _blocks(blocks: int) -> dict[str, Any]:
    """Return ticks of which the first says what they are, because the strip below leaves no room for a title."""
    step = 1 if blocks <= 16 else 4
    ticks = list(range(0, blocks, step))
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [f"block {one}" if one == 0 else one for one in ticks]}


def _names() -> dict[str, Any]:
    return {"type": "category", "automargin": True, "showgrid": False}


def in_words(result: Result, name: str, reference: str) -> str:
    """Return whether anything changed, and where: how many matrices, the most changed one, and what stayed equal."""
    change = np.nan_to_num(result.relative_change)
    changed, count = result.changed(), len(change)
    moved, vectors = int(changed.sum()), result.vectors_changed
    if not moved and vectors:
        return (
            f"All {count} matrices of **{name}** are equal to **{reference}**'s. Training changed {vectors} of its "
            f"norms and biases."
        )
    if not moved:
        return (
            f"**{name}** has the weights of **{reference}**: all {count} matrices are equal, and all norms and biases. "
            f"Check its path, and that an adapter was saved after training."
        )
    most = int(change.argmax())
    said = (
        f"{moved} of {count} matrices of **{name}** differ from **{reference}**. {_placed(result, most)} changed most, "
        f"by {100 * change[most]:.3g} % of its norm."
    )
    equal = sorted({result.matrix[i] for i in range(count) if not changed[i]})
    if not equal:
        return said
    return f"{said} Equal: {', '.join(f'`{one}`' for one in equal[:6])}{' and others' if len(equal) > 6 else ''}."


def _placed(result: Result, i: int) -> str:
    inside = result.layer[i] != OUTSIDE
    return f"`{result.matrix[i]}`{f' of block {int(result.layer[i])}' if inside else ''}"
