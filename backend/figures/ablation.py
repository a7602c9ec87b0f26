"""Models without their class direction: what it does to answers and what it costs elsewhere, as a table and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses import ablation, steering
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.stats.estimate import stacked

_ANSWERS: tuple[tuple[steering.Measure, str, int, int], ...] = (
    ("gap", "gap (logits)", 2, 1),
    ("balanced_accuracy", "balanced accuracy (%)", 1, 100),
)
_COSTS = (("perplexity", "neutral perplexity", 1), ("kl_from_plain", "neutral KL (nats per token)", 3))


TABLE_GUIDE = Guide(
    "Each model as it is → without its own direction, with the 95 % interval.",
    "A loss that permuted directions cause too is not about the classes.",
    f"The permuted columns are the range of {steering.NULL} directions from shuffled labels.",
)


def table(
    answers: Sequence[steering.Result], costs: Sequence[ablation.Result | None], names: Sequence[str]
) -> list[dict[str, str]]:
    """One row per model: as it is → without the direction (interval), and the range of permuted directions."""
    rows: list[dict[str, str]] = []
    for answer, cost, name in zip(answers, costs, names, strict=True):
        row = {"model": name}
        for measure, title, digits, scale in _ANSWERS:
            value, low, high = (scale * end[0, 0] for end in answer.of(measure).ends)
            null = scale * answer.null_of(measure)
            plain = scale * float(answer.plain[steering.MEASURES.index(measure)])
            row[title] = _said(plain, float(value), float(low), float(high), digits)
            row[f"{title}, permuted"] = _range(null[:, 0, 0], digits)
        for measure, title, digits in _COSTS:
            if cost is None:  # an encoder predicts no tokens
                break
            m = ablation.MEASURES.index(measure)
            plain = cost.plain if measure == "perplexity" else 0.0
            row[title] = _said(
                plain, float(cost.measures.value[m]), float(cost.measures.low[m]), float(cost.measures.high[m]), digits
            )
            row[f"{title}, permuted"] = _range(cost.null[m], digits)
        rows.append(row)
    return rows


def _said(plain: float, value: float, low: float, high: float, digits: int) -> str:
    if np.isnan(value):
        return "no direction there"
    plain, value, low, high = (round(end, digits) + 0.0 for end in (plain, value, low, high))  # no minus before a zero
    return f"{plain:.{digits}f} → {value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _range(null: np.ndarray, digits: int) -> str:
    if not len(null) or np.isnan(null).any():
        return ""
    low, high = (round(float(one), digits) + 0.0 for one in (null.min(), null.max()))
    return f"{low:.{digits}f} to {high:.{digits}f}"


COSTS_GUIDE = Guide(
    "How much worse each model predicts neutral sentences without the direction.",
    "The direction was measured at the readout position, and other positions only borrow it.",
    "A diamond far above the dashes means that the direction carries more than the classes.",
)


def draw(results: Sequence[ablation.Result], names: Sequence[str], layer: int) -> go.Figure:
    """Nats per token that each model loses on neutral sentences, over the range of permuted directions."""
    m, x = ablation.MEASURES.index("loss_change"), [theme.literal(name) for name in names]
    value, low, high = stacked([result.measures[m] for result in results]).ends
    traces: list[dict[str, Any]] = [
        drawing.points(
            [name for result, name in zip(results, x, strict=True) for _ in result.null[m]],
            np.concatenate([result.null[m] for result in results]).astype(np.float32),
            {"color": theme.QUIET, "size": 7, "symbol": "line-ew-open", "line": {"width": 1.5}},
            "%{x}: %{y:.3g}<extra>a permuted direction</extra>",
            "permuted directions",
        ),
        drawing.points(
            x,
            value.astype(np.float32),
            {"color": theme.DIRECTION, "size": 10, "symbol": "diamond"},
            "%{x}: %{y:.3g}" + drawing.LIMITS,
            "the class direction",
            customdata=drawing.ends(low, high),
            error_y=drawing.error_bars(value, low, high, thickness=1.4, width=4),
        ),
    ]
    return theme.figure(
        traces,
        f"Without the direction of layer {layer}: loss on neutral sentences (nats per token more)",
        height=360,
        xaxis={"type": "category", "showgrid": False},
        yaxis=theme.axis("nats per token"),
        **drawing.below(64),
    )


def in_words(answer: steering.Result, cost: ablation.Result | None, name: str) -> str:
    """What is lost of the gap, and at what price elsewhere."""
    at = steering.MEASURES.index("gap")
    gap, plain = (round(float(one), 2) + 0.0 for one in (answer.measures.value[at, 0, 0], answer.plain[at]))
    if np.isnan(gap):
        return f"All texts have the same residual there in {name}, so there is no direction to take out."
    null = answer.null[at, :, 0, 0]
    as_low = f" (permuted directions leave {null.min():.2f} to {null.max():.2f})" if len(null) else ""
    said = f"Without its direction {name} keeps a gap of {gap:.2f} of {plain:.2f} logits{as_low}"
    if cost is None:
        return f"{said}."
    value, low, high = cost.measures[ablation.MEASURES.index("loss_change")].ends
    return (
        f"{said}, and loses {value + 0.0:.3f} nats per token ({low:.3f} to {high:.3f}) on "
        f"sentences that are about something else."
    )
