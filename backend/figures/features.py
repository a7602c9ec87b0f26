"""Features of an autoencoder: how often each fires in either model, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.features import SURE, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.tokens import quoted
from backend.stats.feature_rates import STATES
from backend.vocabulary.display import visible

Order = Literal["change", "auc", "rate", "cosine"]
ORDERS: dict[Order, str] = {
    "change": "Rate changed most",
    "auc": "Tells classes apart",
    "rate": "Fires most often",
    "cosine": "Along the direction",
}
SHAPES = {"shared": "circle", "appeared": "triangle-up", "vanished": "triangle-down", "rare": "x"}
NAMED, BESIDE = 5, 12
"""Promoted tokens told when one points, and how far two points in a hundred must be apart on a logarithmic axis."""


GUIDE = Guide(
    "Every feature at its firing rate in both models.",
    "Another seed finds other features, so none of them is the model's own.",
    "On the diagonal nothing changed. At an edge one model does not use the feature. "
    "A feature appeared if its rate is ten times the reference's, beyond chance; vanished means the reverse. "
    "A rare one fires at under one token in a thousand in both models. "
    "A ring marks features that separate the classes, at a false-discovery rate of 5 %. "
    "Click a feature to see more.",
)


def scatter(
    result: Result, names: Sequence[str], at: int, word: str, chosen: int | None = None, revision: str = ""
) -> go.Figure:
    """Every feature at its rates in reference and checkpoint (one model: at its rate and AUC), coloured by AUC.

    Ringed are those that tell the class apart beyond chance in the last of the models; shapes are states.
    """
    m, floor = len(names) - 1, 0.4 / max(1, result.tokens)
    fires = np.flatnonzero(result.rate[: m + 1].max(axis=0) > 0)
    x = np.maximum(result.rate[0], floor)
    unit, alone = ("AUC", result.auc[0, at]) if result.separates else ("mean activation", result.mean_when_firing[0])
    y = np.maximum(result.rate[1], floor) if m else alone
    sure = np.nan_to_num(result.q[m, at], nan=1.0) <= SURE
    traces: list[dict[str, Any]] = []
    for i, state in enumerate(STATES if m else STATES[:1]):
        there = fires[result.state[fires] == i] if m else fires
        if len(there):
            traces.append(
                drawing.points(
                    x[there].astype(np.float32),
                    y[there].astype(np.float32),
                    {
                        "symbol": SHAPES[state],
                        "size": np.where(sure[there], 10, 7),
                        "color": np.nan_to_num(result.auc[m, at, there], nan=0.5).astype(np.float32),
                        "coloraxis": "coloraxis",
                        "line": {"color": theme.RING, "width": np.where(sure[there], 1.6, 0.0)},
                        "opacity": theme.POINTS,
                    },
                    "%{text}<extra></extra>",
                    state if m else "features",
                    type="scattergl" if len(fires) > 1500 else "scatter",
                    customdata=there.astype(np.int32),
                    text=[_hover(result, names, at, feature) for feature in there.tolist()],
                    showlegend=False,
                )
            )
            if m:
                traces.append(_key(state))
    if chosen is not None and np.isfinite([x[chosen], y[chosen]]).all():
        traces.append(drawing.ring([float(x[chosen])], [float(y[chosen])], 19, name=f"feature {chosen}"))
    labels = [f"rate in {theme.literal(name)}" for name in names]
    title = "Features: how often each fires" + ("" if m else f", and {unit}")
    return theme.figure(
        traces,
        title,
        height=470,
        dragmode="zoom",
        uirevision=revision,
        xaxis=_rates(labels[0], floor),
        yaxis=_rates(labels[1], floor) if m else theme.axis(f"{unit} in {theme.literal(names[0])}"),
        **drawing.below(),
        coloraxis={
            "colorscale": [[0.0, theme.NEGATIVE], [0.5, theme.QUIET], [1.0, theme.POSITIVE]],
            "cmin": 0.5 - _reach(result, m, at),
            "cmax": 0.5 + _reach(result, m, at),
            "colorbar": drawing.bar(
                **({"title": {"text": f"AUC for<br>{theme.literal(word)}"}} if result.separates else {})
            ),
        },
    )


def _reach(result: Result, m: int, at: int) -> float:
    far = np.abs(result.auc[m, at] - 0.5)
    return max(0.1, float(np.nanquantile(far, 0.99))) if np.isfinite(far).any() else 0.5


def _rates(title: str, floor: float) -> dict[str, Any]:
    """A logarithmic axis of shares of tokens, with those that never fire at its lower end."""
    ticks = [floor, *(10.0**power for power in range(int(np.ceil(np.log10(2 * floor))), 1))]
    said = ["never", *(f"{100 * tick:g}" for tick in ticks[1:])]
    ends = [float(np.log10(floor)) - 0.15, 0.1]
    return theme.axis(f"{title} (% of tokens)", type="log", tickvals=ticks, ticktext=said, tickangle=0, range=ends)


def _key(state: str) -> dict[str, Any]:
    """What the legend shows of a state: its shape, in a colour that reads on either page."""
    return drawing.entry(state, {"symbol": SHAPES[state], "color": theme.QUIET, "size": 8})


def _hover(result: Result, names: Sequence[str], at: int, feature: int) -> str:
    m = len(names) - 1
    rates = ", ".join(f"{100 * result.rate[i, feature]:.3g} % in {name}" for i, name in enumerate(quoted(list(names))))
    said = [f"<b>feature {feature}</b> ({STATES[int(result.state[feature])]})" if m else f"<b>feature {feature}</b>"]
    said.append(f"fires at {rates} of the tokens")
    if result.separates:
        said.append(f"AUC {result.auc[m, at, feature]:.3f}, q {result.q[m, at, feature]:.2g}")
    tokens = quoted(result.promotes(m, feature)[:NAMED])
    return "<br>".join(said + ([f"promotes {' '.join(tokens)}"] if tokens else []))


def ranked(result: Result, order: Order, at: int, search: str, models: int) -> list[int]:
    """Features that fire, in order; with a search the one of that number, or those that promote a token with it."""
    m = models - 1
    fires = result.rate[:models].max(axis=0) > 0
    rank = {
        "change": np.abs(result.change.value),
        "auc": np.abs(result.auc[m, at] - 0.5),
        "rate": result.rate[m],
        "cosine": np.abs(result.cosine[m, at]),
    }[order]
    results = [i for i in np.argsort(-np.nan_to_num(rank), kind="stable").tolist() if fires[i]]
    if not search.strip():
        return results
    if search.strip().isdecimal():
        return [i for i in results if i == int(search)]
    requests = visible(search.strip()).lower()
    named = {i for i, word in enumerate(result.words) if requests in word.lower()}
    return [i for i in results if named & set(result.promoted[:models, i].ravel().tolist())]


def table_guide(listed: int, total: int, promotes: bool) -> Guide:
    """Return the guide of `table`, which lists the first of all features."""
    return Guide(
        f"The first {listed:,} of {total:,} features in this order.",
        "A promoted token says what a feature writes, not where it fires." if promotes else "Rare features are noisy.",
        "A rate says how often a feature fires, a mean how strongly. Click a column to sort by it.",
    )


def table(result: Result, ids: Sequence[int], names: Sequence[str], at: int) -> list[dict[str, Any]]:
    """A row per feature: its numbers in either model, and what it promotes."""
    m = len(names) - 1
    rows = []
    for i in ids:
        row: dict[str, Any] = {"feature": i}
        row |= {f"rate in {name} (%)": _digits(100 * result.rate[j, i]) for j, name in enumerate(names)}
        row |= {f"mean when firing in {name}": _digits(result.mean_when_firing[j, i]) for j, name in enumerate(names)}
        if m:
            row["state"] = STATES[int(result.state[i])]
        if result.separates:
            row |= {f"AUC in {name}": _digits(result.auc[j, at, i]) for j, name in enumerate(names)}
            row |= {"q": _rounded(result.q[m, at, i]), "cosine with direction": _digits(result.cosine[m, at, i])}
        rows.append(row | ({"promotes": " ".join(result.promotes(m, i))} if len(result.words) else {}))
    return rows


def _digits(value: float) -> float | None:
    """Three significant digits."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def _rounded(value: float) -> float | None:
    """Four places: a q-value below is as good as zero."""
    return round(float(value), 4) if np.isfinite(value) else None


def in_words(result: Result, names: Sequence[str], at: int, word: str) -> list[str]:
    """What came and went, and which features tell the classes apart beyond chance, in sentences."""
    m = len(names) - 1
    said = []
    if m:
        counts = {state: int((result.state == i).sum()) for i, state in enumerate(STATES)}
        said.append(
            f"Of {len(result.state):,} features, {counts['shared']:,} are shared by **{names[0]}** and **{names[1]}**, "
            f"{counts['appeared']:,} appeared, {counts['vanished']:,} vanished, {counts['rare']:,} are rare in both."
        )
    for i, name in enumerate(names if result.separates else ()):
        sure = np.flatnonzero(np.nan_to_num(result.q[i, at], nan=1.0) <= SURE)
        fires = int((result.rate[i] > 0).sum())
        if not len(sure):
            said.append(
                f"In **{name}** none of {fires:,} features tells {word} apart beyond chance (false-discovery rate "
                f"{100 * SURE:.0f} %)."
            )
            continue
        best = sure[np.argmax(np.abs(result.auc[i, at, sure] - 0.5))]
        said.append(
            f"In **{name}**, {len(sure):,} of {fires:,} features tell {word} apart beyond chance; feature {best} does "
            f"best, with an AUC of {result.auc[i, at, best]:.3f}."
        )
    return said
