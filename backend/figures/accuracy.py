"""What each checkpoint answers: accuracy against chance, and one review's answer in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import scipy

from backend.analyses.accuracy import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.step_axis import StepAxis

NOTHING = "–"
"""What stands for the numbers of a checkpoint that has no head to answer with."""


GUIDE = Guide(
    "The share of texts that each checkpoint answers correctly, with 95 % intervals.",
    "Never read one recall alone: a checkpoint with one answer for everything gets 100 % there.",
    "The answer is the label word with the largest logit. A constant answer has a recall of 0 % in every other class.",
)


def draw(results: Sequence[Result], axis: StepAxis, words: Sequence[str]) -> go.Figure:
    """Balanced accuracy and the recall of each class per checkpoint, each with its 95 % interval, against chance."""
    words = theme.literals(words)
    balanced = np.array([r.balanced_accuracy.ends for r in results])
    traces = [_line(balanced, axis, "balanced accuracy", "#7a5cd6", "circle", 0.0, width=2.6)]
    for c, word in enumerate(words):
        recall = np.array([r.recall[c].ends for r in results])
        shift = axis.nudge * (c + 1)
        colour, symbol = theme.class_colour(c, len(words)), theme.SYMBOLS[c % len(theme.SYMBOLS)]
        traces.append(_line(recall, axis, f"recall of {word}", colour, symbol, shift, width=1.2))
    chance = 100 / len(words)
    return theme.figure(
        [*traces, drawing.key(f"chance {chance:.0f} %", "dash")],
        "Texts answered correctly (%)",
        height=380,
        xaxis=axis.layout,
        yaxis=theme.axis("", range=[-3, 103]),
        shapes=[drawing.level(chance, dash="dash")],
        **drawing.below(ticks=30),
    )


def _line(
    triple: np.ndarray, axis: StepAxis, name: str, colour: str, symbol: str, shift: float, width: float
) -> dict[str, Any]:
    """Value, low and high in percent, moved sideways so that bars do not cover each other."""
    value, low, high = (100 * triple).T
    return drawing.line(
        axis.x + shift,
        value,
        name,
        {"color": colour, "width": width},
        "%{text}: %{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f})",
        {"color": colour, "symbol": symbol, "size": 8},
        error_y=drawing.error_bars(value, low, high),
        customdata=np.stack([low, high], axis=1).astype(np.float32),
        text=axis.names,
    )


def table(results: Sequence[Result], names: Sequence[str], words: Sequence[str]) -> list[dict[str, str]]:
    """One row per checkpoint, every number with its 95 % interval; the last is what one answer to everything gets."""
    rows = [
        {
            "checkpoint": name,
            "balanced accuracy": _percent(*r.balanced_accuracy.ends),
            **{f"recall of {word}": _percent(*map(float, r.recall[c].ends)) for c, word in enumerate(words)},
            "AUC": f"{r.auc.value:.3f} ({r.auc.low:.3f} to {r.auc.high:.3f})" if np.isfinite(r.auc.value) else NOTHING,
            "gap (logits)": f"{r.gap.value:.2f} ({r.gap.low:.2f} to {r.gap.high:.2f})"
            if np.isfinite(r.gap.value)
            else NOTHING,
        }
        for name, r in zip(names, results, strict=True)
    ]
    one_answer = {
        "checkpoint": "always the same word",
        "balanced accuracy": f"{100 / len(words):.1f} %",
        **{f"recall of {word}": "0 or 100 %" for word in words},
        "AUC": "0.500",
        "gap (logits)": "0.00",
    }
    return [*rows, one_answer]


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})" if np.isfinite(value) else NOTHING


REVIEW_GUIDE = Guide(
    "The answer of both models to this text, by their own readout.",
    "One text says nothing about a model.",
    "The probability is divided among the label words only.",
)


def review(results: Sequence[Result], names: Sequence[str], words: Sequence[str], chosen: int) -> list[dict[str, str]]:
    """The answer of each checkpoint to one review, its probability among the label words, the logit difference."""
    rows = []
    for name, r in zip(names, results, strict=True):
        answer = int(r.prediction[chosen])
        logit_diff = r.logit_diff[chosen]
        if answer < 0:
            rows.append(
                {"checkpoint": name, "answer": NOTHING, "probability": NOTHING, "logit difference (logits)": NOTHING}
            )
            continue
        sure = logit_diff[answer] if len(logit_diff) > 1 else logit_diff[0] * (1 if answer == 1 else -1)
        rows.append(
            {
                "checkpoint": name,
                "answer": words[answer],
                "probability": f"{100 * float(scipy.special.expit(sure)):.1f} %",
                "logit difference (logits)": ", ".join(f"{value:+.2f}" for value in logit_diff),
            }
        )
    return rows
