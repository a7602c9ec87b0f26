"""The sample card: what besides the classes could explain the numbers, in sentences and two pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from backend.analyses.confounds import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "Accuracy by prompt length, and how similar different texts are.",
    "Quartiles hold few texts each, so read their intervals.",
    "Read this before any other picture. "
    "If the classes differ in length, directions may be about length. "
    "If the sample was trained on, accuracy says little about new texts.",
)
UNASKED_GUIDE = Guide(
    "How similar different texts are: the mean cosine between their residuals.",
    "All residuals of a model may share a direction, so a high cosine alone says little.",
    "Read this before any other picture. If classes differ in length, directions may be about length.",
)
"""For studies without answers."""


def quartiles(result: Result, names: Sequence[str]) -> go.Figure:
    """Share of correct answers by quartile of prompt length, per checkpoint, with 95 % intervals.

    Quartiles that ties leave empty are left out: where most prompts are cut to one length, a single one remains.
    """
    names = theme.literals(names)
    edges, there = result.quartile_edges, np.flatnonzero(result.quartile_n)
    ticks = [f"{edges[i]:.0f} to {edges[i + 1]:.0f} tokens<br>n = {result.quartile_n[i]}" for i in there]
    traces = []
    for i, name in enumerate(names):
        value, low, high = (100 * end[i, there] for end in result.quartile_accuracy.ends)
        x, line = np.arange(len(value)) + 0.06 * i, drawing.stroke(theme.checkpoint_colour(i, len(names)), 1.6)
        bars = drawing.error_bars(value, low, high)
        traces.append(drawing.line(x, value, name, line, "%{y:.1f} %", error_y=bars))
    return theme.figure(
        traces,
        "Correct answers by length of the prompt (%)",
        height=340,
        xaxis=theme.axis("", tickmode="array", tickvals=np.arange(len(ticks)), ticktext=ticks)
        | {"range": [-0.5, len(ticks) - 0.5]},
        yaxis=theme.axis("%", range=[-3, 103]),
        **drawing.below(ticks=32),
    )


def sameness(result: Result, names: Sequence[str]) -> go.Figure:
    """Mean cosine between different reviews at every layer: near 1, a few huge dimensions drown everything else."""
    names = theme.literals(names)
    traces = [
        drawing.line(
            np.arange(result.review_cosine.shape[1]),
            result.review_cosine[i],
            name,
            drawing.stroke(theme.checkpoint_colour(i, len(names)), 1.8),
            "layer %{x}: %{y:.3f}",
        )
        for i, name in enumerate(names)
    ]
    return theme.figure(
        traces,
        "Cosine between different texts",
        height=340,
        xaxis=theme.layer_axis(result.review_cosine.shape[1]),
        yaxis=theme.axis(
            "mean cosine", range=[min(-0.05, float(np.nanmin(result.review_cosine, initial=0.0)) - 0.05), 1.05]
        ),
        **drawing.below(),
    )


def card(result: Result, names: Sequence[str], reviews: int) -> list[str]:
    """The card's sentences."""
    hides = not result.length_auc.low <= 0.5 <= result.length_auc.high
    text_free = ", ".join(str(layer) for layer in np.flatnonzero(result.text_free.all(axis=0)))
    apart = (
        f"Length alone tells the classes apart with AUC {result.length_auc.value:.2f} ({result.length_auc.low:.2f} to "
        f"{result.length_auc.high:.2f}); 0.5 would be nothing"
        + (", so **part of any accuracy may be length**." if hides else ".")
    )
    return [
        *([apart] if np.isfinite(result.length_auc.value) else []),
        f"{result.truncated_n} of {reviews} texts ({100 * result.truncated_share:.0f} %) were cut to fit the prompt.",
        result.training_note,
        f"{result.states_rating} of {reviews} texts state a rating.",
        _copies(result, reviews),
        _best(result, names),
        f"Layer {text_free} holds no text at the readout position: position alone, or nothing."
        if text_free
        else "Every layer holds something of the text at the readout position.",
    ]


def _copies(result: Result, reviews: int) -> str:
    """How many reviews repeat an earlier one."""
    if not result.duplicates:
        return "No two texts are the same."
    several = "text stands" if result.contradictions == 1 else "texts stand"
    said = f"{result.contradictions} {several} under more than one label. " if result.contradictions else ""
    return (
        f"**{result.duplicates} of {reviews} texts repeat an earlier one**, alone or in their whole prompt. "
        f"{said}Copies stay together where texts are split; intervals count each of them, so they are too narrow."
    )


def _best(result: Result, names: Sequence[str]) -> str:
    """The best checkpoint, as chosen on all reviews and on one half of them, where either is possible."""
    if result.naive_best < 0:
        return "No checkpoint answers in this study, so none is the best."
    if np.isfinite(result.quartile_accuracy.value).any(axis=1).sum() == 1:
        only, share = names[result.naive_best], 100 * result.naive_best_accuracy
        return f"Only **{only}** has a head to answer with, so there was no choice; it answers {share:.1f} % right."
    best = f"The best checkpoint on all texts is **{names[result.naive_best]}** with "
    best += f"{100 * result.naive_best_accuracy:.1f} %, a number that the choice flatters."
    if result.best_on_half < 0:
        return f"{best} The classes are too small to choose on one half and test on the other."
    low, high = 100 * result.held_half_accuracy.low, 100 * result.held_half_accuracy.high
    return (
        f"{best} Chosen on one half (**{names[result.best_on_half]}**) and tested on the other: "
        f"**{100 * result.held_half_accuracy.value:.1f} %** ({low:.1f} to {high:.1f})."
    )
