"""The unembedding of every checkpoint against the reference's: Procrustes disparity, as a picture and in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from backend.analyses.unembedding import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "The difference between the tokens' rows that the best rotation and scale leave.",
    "Most tokens are rare and hardly trained, so a small number can hide frequent tokens that moved.",
    "The number is exact, so it needs no interval.",
)


def draw(
    results: Sequence[Result], names: Sequence[str], positions: Sequence[int], count: int, reference: str
) -> go.Figure:
    """A bar per checkpoint: what the best rotation and scale leave of the difference."""
    names, reference = theme.literals(names), theme.literal(reference)
    bar = drawing.bars(
        np.array([result.procrustes for result in results], dtype=np.float32),
        list(names),
        [theme.checkpoint_colour(position, count) for position in positions],
        "%{y}: disparity %{x:.4g}, mean cosine of rows %{customdata[0]:.4f}, tokens paired at random "
        "%{customdata[1]:.3f}",
        customdata=np.array([[result.cosine, result.procrustes_chance] for result in results], dtype=np.float32),
        text=[f"{result.procrustes:.3g}" for result in results],
        textposition="outside",
        cliponaxis=False,
    )
    return theme.figure(
        [bar],
        f"Unembedding: Procrustes disparity to {reference}",
        height=120 + 34 * len(names),
        xaxis=theme.axis("disparity (0 = same up to rotation and scale)", rangemode="tozero", exponentformat="e"),
        yaxis=drawing.NAMES,
        margin={"l": 48, "r": 48, "t": 40, "b": 44},
    )


def in_words(result: Result, name: str, reference: str) -> str:
    """Cosine, disparity and chance of one checkpoint."""
    tied = ", which is the input embedding too," if result.tied else ""
    return (
        f"Over the {result.rows_shared:,} tokens that both have, a row of **{name}**'s unembedding{tied} has a mean "
        f"cosine of {result.cosine:.4f} with **{reference}**'s; after the best rotation and scale "
        f"{result.procrustes:.3g} of the squared difference is left, and {result.procrustes_chance:.3g} with tokens "
        f"paired at random."
    )
