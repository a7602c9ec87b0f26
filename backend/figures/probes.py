"""Draw every layer read by a head: curves against chance, and checkpoint x layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.probes import AS_PUBLISHED, Reading, Result
from backend.figures.style import drawing, following, theme
from backend.figures.style.guide import Guide

Measure = Literal["balanced_accuracy", "auc", "gap", "recall", "mean_logit_diff"]
MEASURES: dict[Measure, str] = {
    "balanced_accuracy": "balanced accuracy (%)",
    "auc": "AUC of the logit difference",
    "gap": "gap (logits)",
    "recall": "recall (%)",
    "mean_logit_diff": "mean logit difference, the bias (logits)",
}
WITH_CHANCE = ("balanced_accuracy", "auc", "gap")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def values(result: Result, reading: Reading, measure: Measure, c: int = 0) -> np.ndarray:
    """Return the curve with its interval's low and high, [3, layers]; `c` is the class of recalls and biases."""
    place = result.place(*reading)
    scale = 100 if measure in ("balanced_accuracy", "recall") else 1
    parts = [end[place] for end in getattr(result, measure).ends]
    if measure == "mean_logit_diff":
        parts = [part[:, min(c, part.shape[1] - 1)] for part in parts]
    elif measure == "recall":
        parts = [part[:, c] for part in parts]
    return scale * np.stack(parts)


def in_words(reading: Reading, reference: str) -> str:
    """Name a reading, for example `head of base, no norm`."""
    if reading == AS_PUBLISHED:
        return f"head of {reference}, no norm before the last layer"
    owners = {"base": f"of {reference}", "own": "of its own"}
    norm = "no norm" if reading[1] == "none" else f"norm {owners[reading[1]]}"
    return f"head {owners[reading[0]]}, {norm}"


def curves_guide(reading: Reading) -> Guide:
    """Return the guide of `curves`; the published reading changes its norm at the last layer."""
    published = (
        " As published, layers have no norm, but the last layer has its own. The norm causes the jump there."
        if reading == AS_PUBLISHED
        else ""
    )
    return Guide(
        "Every layer read as if it were the last one, with 95 % intervals.",
        "A head that prefers one word has chance accuracy whatever it knows, so check AUC and recalls.",
        "The dotted line is chance: shuffled labels exceed it at some layer in 5 % of cases. "
        f"A ring marks the layer from which a curve stays above chance.{published}",
    )


def curves(
    results: Sequence[Result],
    names: Sequence[str],
    colours: Sequence[str],
    words: Sequence[str],
    reading: Reading,
    measure: Measure,
    c: int = 0,
    ends: following.Ends = following.NONE,
) -> go.Figure:
    """Draw curves with their 95 % interval as a band, chance dotted and the layer that leaves it ringed.

    `colours` are those of the checkpoints; recalls are drawn for every class, biases for class `c`. With `ends`, all
    other checkpoints are faint.
    """
    words = theme.literals(words)
    traces: list[dict[str, Any]] = []
    for result, own, colour in zip(results, names, colours, strict=True):
        name = theme.literal(own)
        shown = range(len(words)) if measure == "recall" else (c,)
        for k in shown:
            label = f"{name}, {words[k]}" if measure == "recall" else name
            drawn = _line(values(result, reading, measure, k), label, colour, DASHES[k % 5 if len(shown) > 1 else 0])
            traces += following.curve(drawn[-1:], drawn[:-1], own, ends)
        traces += following.curve([], _chance(result, reading, measure, name, colour), own, ends)
    if measure in WITH_CHANCE:
        traces.append(drawing.key("chance", "dot"))
    layers = results[0].auc.value.shape[1]
    bounded = {"balanced_accuracy": [-3, 103], "recall": [-3, 103], "auc": [-0.03, 1.03]}
    scale: dict[str, Any] = {"range": bounded[measure]} if measure in bounded else {}
    middle = {"balanced_accuracy": 100 / len(words), "auc": 0.5}.get(measure, 0.0)
    return theme.figure(
        traces,
        f"By layer: {MEASURES[measure]}",
        height=420,
        shapes=[] if measure == "recall" else [drawing.level(middle, width=1)],
        xaxis=theme.layer_axis(layers),
        yaxis=theme.axis(MEASURES[measure], **scale),
        **drawing.below(),
        **following.layout(names),
    )


def _line(triple: np.ndarray, name: str, colour: str, dash: str) -> list[dict[str, Any]]:
    x, line = np.arange(triple.shape[1]), drawing.stroke(colour, dash=dash)
    return drawing.banded(x, [*triple], name, line, "layer %{x}: %{y:.3g}" + drawing.LIMITS, {"size": 6})


def _chance(result: Result, reading: Reading, measure: Measure, name: str, colour: str) -> list[dict[str, Any]]:
    """Return the chance level, which shuffled labels exceed at some layer in 5 % of cases, and a ring."""
    if measure not in WITH_CHANCE:
        return []
    place = result.place(*reading)
    scale = 100 if measure == "balanced_accuracy" else 1
    level = scale * getattr(result, measure).chance[place]
    at = getattr(result, f"{measure}_leaves_chance")[place]
    x, line = np.arange(len(level)), drawing.stroke(colour, 1.6, "dot")
    hover = f"layer %{{x}}: chance reaches %{{y:.3g}}<extra>{name}</extra>"
    dotted = drawing.line(x, level, f"chance, {name}", line, hover, mode="lines", showlegend=False)
    if at < 0:
        return [dotted]
    y = [float(scale * getattr(result, measure).value[place, at])]
    hover = f"{name} leaves chance at layer {at}<extra></extra>"
    return [dotted, drawing.ring([at], y, 14, hover, showlegend=False)]


def readings_guide(reference_has_head: bool) -> Guide:
    """Return the guide of `readings`."""
    heads = "Its own head after each norm."
    if reference_has_head:
        heads = "Both heads after each norm, and with stars the reading of the published study."
    return Guide(
        heads,
        "Without a matching norm, layers differ in scale, so compare AUC or accuracy, not logits.",
        "The published study applied the final norm at the last layer only. That norm causes the jump there.",
    )


def readings(
    result: Result, name: str, reference: str, words: Sequence[str], measure: Measure, c: int = 0
) -> go.Figure:
    """Draw all readings of one checkpoint without intervals, with a colour per head and a dash per norm.

    Recalls and biases are those of class `c`.
    """
    name, reference, words = theme.literal(name), theme.literal(reference), theme.literals(words)
    traces: list[dict[str, Any]] = []
    for reading in result.readings:
        published = reading == AS_PUBLISHED
        colour = theme.RING if published else theme.QUIET if reading[0] == "base" else theme.DIRECTION
        dash = "solid" if published else {"none": "dot", "base": "dash", "own": "solid"}[reading[1]]
        said = in_words(reading, reference)
        trace = _line(values(result, reading, measure, c), said, colour, dash)[-1]
        ends = {"symbol": "star" if published else "circle", "size": 10 if published else 5}
        traces.append(trace | {"name": f"{said} (as published)" if published else said, "marker": ends})
    of = f" of {words[c]}" if measure == "recall" or (measure == "mean_logit_diff" and len(words) > 2) else ""
    return theme.figure(
        traces,
        f"{name}, all readings: {MEASURES[measure]}{of}",
        height=440,
        xaxis=theme.layer_axis(result.auc.value.shape[1]),
        yaxis=theme.axis(MEASURES[measure]),
        **drawing.below(),
    )


def leaves_chance(results: Sequence[Result], names: Sequence[str], reading: Reading) -> str:
    """Say from which layer on the answer can be read: by AUC, and by balanced accuracy."""
    parts = []
    for result, name in zip(results, names, strict=True):
        place = result.place(*reading)
        order, answer = result.auc_leaves_chance[place], result.balanced_accuracy_leaves_chance[place]
        said = [f"leaves chance at layer {at}" if at >= 0 else "never stays above chance" for at in (order, answer)]
        both = f"{said[0]} by AUC and by balanced accuracy"
        parts.append(
            f"**{name}** " + (both if order == answer else f"{said[0]} by AUC and {said[1]} by balanced accuracy")
        )
    return "; ".join(parts) + "."


HEATMAP_GUIDE = Guide(
    "The same for all checkpoints: teal is above chance and red below.",
    "A layer that the head cannot read may still hold the answer; see the linear probes.",
)


def heatmap(
    results: Sequence[Result],
    names: Sequence[str],
    words: Sequence[str],
    reading: Reading,
    measure: Measure,
    c: int = 0,
) -> go.Figure:
    """Draw checkpoint x layer, coloured around chance, ringed where a checkpoint starts to stay above chance."""
    names, words = theme.literals(names), theme.literals(words)
    matrix = np.stack([values(result, reading, measure, c)[0] for result in results])
    middle = {"balanced_accuracy": 100 / len(words), "recall": 100 / len(words), "auc": 0.5}.get(measure, 0.0)
    reach = max(float(np.nanmax(np.abs(matrix - middle))), 1e-9)
    if measure in ("balanced_accuracy", "recall"):
        reach = max(middle, 100 - middle)
    elif measure == "auc":
        reach = 0.5
    traces: list[dict[str, Any]] = [
        drawing.heatmap(
            matrix,
            np.arange(matrix.shape[1]),
            list(names),
            "%{y}, layer %{x}: %{z:.3g}<extra></extra>",
            theme.DIVERGING if measure == "mean_logit_diff" else theme.QUALITY,
            zmin=middle - reach,
            zmid=middle,
            zmax=middle + reach,
            colorbar=drawing.bar(len=1),
        )
    ]
    if measure in WITH_CHANCE:
        starts = [getattr(result, f"{measure}_leaves_chance")[result.place(*reading)] for result in results]
        there = [(at, names[i]) for i, at in enumerate(starts) if at >= 0]
        traces.append(
            drawing.ring(
                [at for at, _ in there],
                [name for _, name in there],
                14,
                "%{y} leaves chance at layer %{x}<extra></extra>",
                name="leaves chance here",
                showlegend=True,
            )
        )
    of = f" of {words[c]}" if measure == "recall" or (measure == "mean_logit_diff" and len(words) > 2) else ""
    return theme.figure(
        traces,
        f"Checkpoint × layer: {MEASURES[measure]}{of}",
        height=130 + 34 * len(names),
        xaxis=theme.layer_axis(matrix.shape[1], showgrid=False),
        yaxis=drawing.NAMES,
        legend=drawing.RIGHT,
    )
