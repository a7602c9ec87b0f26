"""A typed text by layer: answers, the logit difference, and the place along the class direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.review import Result
from backend.figures.style import drawing, following, text, theme
from backend.figures.style.guide import Guide
from backend.study.config import PromptSpec
from backend.study.dataset import Sample
from backend.study.typed_texts import Typed

_BELOW = drawing.below()
APART = 4
"""How many times larger than the rest a reading is before it is hidden."""


def probabilities(results: Sequence[Result], names: Sequence[str], words: Sequence[str]) -> go.Figure:
    """The probability of each label word per checkpoint, as one bar of 100 %."""
    names, words = theme.literals(names), theme.literals(words)
    shares = 100 * np.stack([result.probability for result in results])
    traces: list[dict[str, Any]] = [
        drawing.bars(
            shares[:, c],
            list(names),
            theme.class_colour(c, len(words)),
            f"%{{y}}: {word} %{{x:.2f}} %<extra></extra>",
            word,
            text=[f"{share:.1f} %" if share >= 12 else "" for share in shares[:, c]],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": theme.ink_on(theme.class_colour(c, len(words)))},
        )
        for c, word in enumerate(words)
    ]
    return theme.figure(
        traces,
        "What each checkpoint answers (% among the label words)",
        height=120 + 30 * len(names),
        barmode="stack",
        bargap=0.25,
        xaxis=theme.axis("", range=[0, 100], ticksuffix=" %"),
        yaxis=drawing.NAMES,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        margin={"l": 48, "r": 12, "t": 56, "b": 28},
    )


ANSWERED_GUIDE = Guide(
    "What each checkpoint answers, and which label word leads at each of its layers.",
    "Early layers were not trained to be read this way.",
    "The bars divide 100 % among the label words, so a checkpoint that prefers another word may still look sure. "
    "The map is the logit lens: each layer is read with the checkpoint's own final norm and head.",
)


def layers(results: Sequence[Result], names: Sequence[str], words: Sequence[str], at: int = 0) -> go.Figure:
    """Draw the logit difference of the text at every layer of every checkpoint."""
    matrix = np.stack([result.logit_diff[:, at] for result in results])
    most = _largest(matrix) or 1.0
    return theme.figure(
        [
            drawing.heatmap(
                matrix,
                np.arange(matrix.shape[1]),
                theme.literals(names),
                "%{y}, layer %{x}: %{z:.3g} nats<extra></extra>",
                theme.DIVERGING,
                zmin=-most,
                zmax=most,
                hoverongaps=False,
            )
        ],
        f"Logit difference, checkpoint × layer: {against(words, at)} (nats)",
        height=120 + 30 * len(names),
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
        margin={"l": 48, "r": 12, "t": 56, "b": 40},
    )


ALONG_GUIDE = Guide(
    "The position of the text between the class means at every layer.",
    "Trust a position only where the direction is beyond chance, as shown on the Layers page.",
    "The study asks for no answers, so the text is placed by its residuals alone.",
)


GUIDE = Guide(
    "The logit difference of the text by layer, and its position between the class means.",
    "Trust a curve only where the readings agree.",
    "Every layer is read as the model reads its last layer, for which early layers were not trained. "
    "Trust a position only where the direction is beyond chance, as shown on the Layers page.",
)


def curves(
    results: Sequence[Result],
    names: Sequence[str],
    places: Sequence[int],
    count: int,
    words: Sequence[str],
    at: int = 0,
) -> go.Figure:
    """The logit difference by layer, read in three ways.

    `names` start with the reference, `places` are those among `count`.

    Readings without a norm are hidden until their legend is clicked where they are so much larger that beside them
    nothing else could be read, as in models whose norm makes the last residuals small. What a missing head or norm
    leaves without a reading of its own is left out.
    """
    names = theme.literals(names)
    head = f"{names[0]}'s head"
    normed = np.concatenate(
        [one[:, at] for result in results for one in (result.logit_diff, result.logit_diff_reference_head)]
    )
    raw = np.concatenate([result.logit_diff_no_norm[:, at] for result in results])
    far = bool(_largest(raw) > APART * _largest(normed) > 0)
    traces = []
    for i, (result, name, place) in enumerate(zip(results, names, places, strict=True)):
        readings = [
            (f"{name}: own head and norm", result.logit_diff, "solid", 2.4),
            (f"{name}: {head}, own norm", result.logit_diff_reference_head, "dash", 1.6),
            (f"{name}: {head}, no norm{' (hidden: far larger)' if far else ''}", result.logit_diff_no_norm, "dot", 1.6),
        ]
        if i == 0:
            del readings[1]  # the reference's head is its own
        for label, logit_diff, dash, width in readings:
            if np.isnan(logit_diff[:, at]).all() or (
                dash == "dot" and np.array_equal(logit_diff, result.logit_diff_reference_head)
            ):
                continue  # nothing to read it with, or an encoder, which has no final norm
            line = _line(logit_diff[:, at], label, theme.checkpoint_colour(place, count), dash, width)
            traces.append(line | ({"visible": "legendonly"} if far and dash == "dot" else {}))
    return theme.figure(
        traces,
        f"Logit difference by layer: {against(words, at)} (nats)",
        height=400,
        shapes=[drawing.level(0, dash="dash")],
        xaxis=theme.layer_axis(len(results[0].logit_diff)),
        yaxis=theme.axis("logit difference (nats)"),
        **_BELOW,
    )


def _largest(values: np.ndarray) -> float:
    """How far from 0 they go; 0 if all are undefined."""
    return float(np.nanmax(np.abs(values), initial=0.0))


def places(
    results: Sequence[Result],
    names: Sequence[str],
    where: Sequence[int],
    count: int,
    words: Sequence[str],
    at: int = 0,
    ends: following.Ends = following.NONE,
) -> go.Figure:
    """The text along each checkpoint's class direction by layer, with both class means drawn.

    With `ends`, all other checkpoints are faint.
    """
    traces: list[dict[str, Any]] = []
    for result, name, place in zip(results, names, where, strict=True):
        colour = theme.checkpoint_colour(place, count)
        line = _line(result.place[:, at], theme.literal(name), colour, "solid", 2.4)
        traces += following.curve([line], [], name, ends)
    low, high = sides(words, at)
    return theme.figure(
        traces,
        f"Along the direction: 0 = mean of {text.shown(low)}, 1 = mean of {text.shown(high)}",
        height=400,
        shapes=[drawing.level(y, dash="dash") for y in (0, 1)],
        xaxis=theme.layer_axis(len(results[0].place)),
        yaxis=theme.axis("class distances"),
        **_BELOW,
        **following.layout(names),
    )


def _line(values: np.ndarray, name: str, colour: str, dash: str, width: float) -> dict[str, Any]:
    return drawing.line(
        np.arange(len(values)),
        values,
        name,
        {"color": colour, "width": width, "dash": dash},
        "layer %{x}: %{y:.3g}",
        {"size": 6},
        mode="lines+markers" if dash == "solid" else "lines",
    )


def sides(words: Sequence[str], at: int) -> tuple[str, str]:
    """What the direction leads away from, and to."""
    return (words[0], words[1]) if len(words) == 2 else ("the others", words[at])


def against(words: Sequence[str], at: int) -> str:
    """What the logit difference is of."""
    low, high = sides(words, at)
    return f"{text.shown(high)} − {text.shown(low)}"


def cut(typed: Typed, spec: PromptSpec) -> str:
    """What was cut off a text, in a sentence; empty if nothing was."""
    if not typed.cut.strip():
        return ""
    words, left = len(typed.cut.split()), len(typed.left.split())
    return (
        f"The models see {spec.max_tokens} tokens at most, template included: {_count(words)} cut from the "
        f"{'end' if spec.keep == 'start' else 'start'}, {_count(left)} left."
    )


def _count(words: int) -> str:
    return f"{words:,} word is" if words == 1 else f"{words:,} words are"


def excerpt(text: str, most: int = 3000) -> str:
    """A text to be read on a page: of a long one its start and its end."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n\n[… {len(text) - 2 * half:,} characters …]\n\n{text[-half:]}"


NEAREST_GUIDE = Guide(
    "The nearest texts by the cosine of their residuals at the readout position.",
    "Early layers compare wording and length rather than opinion.",
    "The mean of the sample is subtracted. With it, all cosines would be near 1.",
)


def nearest(result: Result, layer: int, sample: Sample, words: Sequence[str]) -> list[dict[str, Any]]:
    """The nearest reviews at a layer, one row each; none where the layer holds no text."""
    return [
        {
            "cosine": f"{value:+.3f}",
            "label": words[int(sample.label[i])],
            "review": int(sample.index[i]),
            "text": " ".join(sample.text[i].split()),
        }
        for i, value in zip(result.neighbours[layer].tolist(), result.cosine[layer].tolist(), strict=True)
        if np.isfinite(value)
    ]
