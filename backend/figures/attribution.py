"""Heads and MLPs by what they add to the logit difference: block x part, each checkpoint and the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.attribution import OUTSIDE, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

Measure = Literal["gap", "change"]
ROOMY = 8
"""Columns up to which numbers fit into the cells, and names stand upright."""


def grid(result: Result, measure: Measure) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Value, low and high, each [blocks, columns], and the columns' names: heads, then attention's bias and MLP.

    The column of the bias is left out where no block has one.
    """
    heads = int(result.head.max()) + 1
    blocks = int(result.block.max()) + 1
    names = [f"head {h}" for h in range(heads)] + ["attn bias", "MLP"]
    arrays = [np.full((blocks, heads + 2), np.nan) for _ in range(3)]
    column = {"attn_bias": heads, "mlp": heads + 1}
    for i, part in enumerate(result.part):
        if result.block[i] != OUTSIDE:
            at = result.head[i] if part == "head" else column[part]
            for array, end in zip(arrays, getattr(result, measure).ends, strict=True):
                array[result.block[i], at] = end[i]
    if not np.any(arrays[0][:, heads]):
        arrays, names = [np.delete(array, heads, axis=1) for array in arrays], [*names[:heads], "MLP"]
    return arrays[0], arrays[1], arrays[2], names


GUIDE = Guide(
    "How much each part adds to the logit difference: teal helps, red hurts.",
    "It ignores how later parts use a part's output, so it does not predict an ablation.",
    "The logit difference at the end is the sum of the outputs of all parts. "
    "A cell is how far a part separates the classes in it.",
)


def heatmap(result: Result, measure: Measure, title: str, reach: float) -> go.Figure:
    """Block x part, teal where it speaks for the right class; `reach` is the largest value of the colours."""
    title = theme.literal(title)
    values, low, high, names = grid(result, measure)
    blocks = len(values)
    said = np.stack([low, high], axis=-1)
    roomy = len(names) <= ROOMY
    heat = drawing.heatmap(
        values,
        names,
        np.arange(blocks),
        "block %{y}, %{x}: %{z:+.3f} (%{customdata[0]:+.3f} to %{customdata[1]:+.3f})<extra></extra>",
        theme.QUALITY,
        customdata=said.round(4).tolist(),
        zmin=-reach,
        zmid=0,
        zmax=reach,
        colorbar=drawing.bar(len=1),
    )
    written = drawing.numbers(heat, _written(values), -reach, reach, theme.QUALITY) if roomy else []
    return theme.figure(
        [heat, *written],
        title,
        height=150 + 24 * blocks,
        xaxis={"type": "category", "automargin": True, "showgrid": False, "tickangle": 0 if roomy else -60},
        yaxis=theme.axis(
            "block", autorange="reversed", showgrid=False, tickmode="linear", dtick=1 if blocks <= 16 else 4
        ),
    )


def _written(values: np.ndarray) -> list[list[str]]:
    """What stands in the cells, nothing where it would be a zero."""
    return [[f"{v:+.2f}" if np.isfinite(v) and abs(v) >= 0.005 else "" for v in row] for row in values]


def reach(results: Sequence[Result], measure: Measure) -> float:
    """The largest size of any cell, so that pictures side by side share their colours."""
    return max(float(np.nanmax(np.abs(grid(result, measure)[0]))) for result in results) or 1.0


def in_words(result: Result, measure: Measure, name: str, count: int = 3) -> str:
    """The parts that add most, and what all of them come to."""
    values, low, high = getattr(result, measure).ends
    best = np.argsort(-np.abs(values), kind="stable")[:count]
    parts = [f"{_part(result, int(i))} {values[i]:+z.2f} ({low[i]:+z.2f} to {high[i]:+z.2f})" for i in best]
    what = "gap" if measure == "gap" else "change of the gap"
    said = f"**{name}**: of a {what} of {values.sum():+z.2f} logits, most comes from " + ", ".join(parts)
    outside = [i for i, one in enumerate(result.part) if one in ("embed", "later_tokens") and i not in best]
    rest = [f"{_part(result, i)} adds {values[i]:+z.2f} ({low[i]:+z.2f} to {high[i]:+z.2f})" for i in outside]
    return "; ".join([said, *rest]).replace("tokens adds", "tokens add") + "."


def _part(result: Result, i: int) -> str:
    names = {
        "embed": "the embedding",
        "mlp": "the MLP",
        "attn_bias": "the attention's bias",
        "norm_bias": "the last bias",
        "later_tokens": "the words' later tokens",
    }
    part = f"head {result.head[i]}" if result.part[i] == "head" else names[result.part[i]]
    return part if result.block[i] == OUTSIDE else f"{part} of block {result.block[i]}"
