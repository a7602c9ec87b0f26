"""Tokens on a map: words with their names beside them, or the whole vocabulary, with arrows from where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.token_map import NEUTRAL, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.labels import GAP, place
from backend.figures.style.tokens import FOUND, OTHERS, found, group_colour, group_symbol, quoted
from backend.vocabulary.display import SPACE, visible

NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
SCOPES = {"words": "chosen words", "vocabulary": "the whole vocabulary"}
INSIDE, ROOM, AROUND = 600, 750, 90
"""Largest height and width of the plot, as fit beside the sidebar of a small screen, and what is around it: pixels."""
WIDEST = 2.0
"""Width of what is shown over its height, at the most."""
MOST_ARROWS, MOST_NAMED = 150, 12
_FAINT, _MARGIN = 0.05, 1.15


def matches(result: Result, search: str) -> list[int]:
    """Places of the tokens whose name holds the search (case does not count, a space is ␣), whole names first."""
    requests = visible(search).lower()
    results = [i for i, name in enumerate(result.token) if requests in name.lower()] if search else []
    return sorted(results, key=lambda i: result.token[i].lower().lstrip(SPACE) != requests.lstrip(SPACE))


_NEIGHBOURS = Guide(
    "Neighbours on the map are mostly neighbours by cosine.",
    "Distances between groups and the shapes of groups mean nothing.",
    "The map starts from the map of the reference. Arrows no longer than the noise floor are chance.",
)
GUIDES = {
    "pca": Guide(
        "The two directions in which the compared tokens vary most.",
        "Most movement may lie in other directions, so a short arrow proves nothing.",
        "Every checkpoint is centred on its own mean. Arrows are real movement along these two directions.",
    ),
    "tsne": _NEIGHBOURS,
    "umap": _NEIGHBOURS,
}


def draw(result: Result, before: Result, title: str, matched: Sequence[int] = (), revision: str = "") -> go.Figure:
    """The map of a checkpoint, with arrows from the tokens' places in `before`, the reference's; equal axes.

    Of a whole vocabulary arrows are drawn for what is `found`, else for those that went furthest. Another epoch with
    the same `revision` keeps the zoom.
    """
    title = theme.literal(title)
    whole = len(result.ids) > 4 * MOST_ARROWS
    start = before.xy[np.isin(before.ids, result.ids)]
    middle, span = _frame(before.xy, result.xy)
    inside = min(INSIDE, ROOM * span[1] / span[0])
    sides = [
        {"autorangeoptions": {"include": [at - size / 2, at + size / 2]}, "autorange": True, "constrain": "domain"}
        for at, size in zip(middle.tolist(), span.tolist(), strict=True)
    ]
    traces = _arrows(start, result.xy, _going(start, result.xy, matched) if whole else range(len(result.ids)))
    traces += _points(result, whole, faint=whole and bool(matched))
    if matched:
        x, y = result.xy[list(matched[:MOST_ARROWS])].T
        traces.append(found(x, y, type=_kind(whole)))
    if matched or not whole:
        traces.append(_names(result, (result.xy - middle) * (inside / span[1]), matched, whole))
    shared = np.isfinite(result.explained).all()
    axes = [
        theme.axis(f"axis {i + 1} ({100 * share:.0f} % of the variance)") if shared else {"visible": False}
        for i, share in enumerate(np.nan_to_num(result.explained))
    ]
    return theme.figure(
        traces,
        title,
        height=round(inside) + AROUND,
        dragmode="zoom",
        uirevision=revision,
        margin={"l": 48 if shared else 6, "r": 6, "t": 62, "b": 44 if shared else 6},
        xaxis=axes[0] | sides[0],
        yaxis=axes[1] | sides[1] | {"scaleanchor": "x"},
    )


def _frame(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and size, each (x, y), of what is shown: the reference's, in steps larger where points go beyond.

    It is what an automatic range has to include: plotly gives up a zoom when the next picture asks for another range.
    """
    middle = (before.min(axis=0) + before.max(axis=0)) / 2
    wide, high = (_MARGIN * np.ptp(before, axis=0)).tolist()
    wide = max(wide, high) or 1.0
    size = np.array([wide, max(high, wide / WIDEST)])
    beyond = float((2.08 * np.abs(after - middle) / size).max())
    return middle, size * 1.25 ** max(0, int(np.ceil(np.log(beyond) / np.log(1.25)))) if beyond > 0 else size


def _going(start: np.ndarray, end: np.ndarray, matched: Sequence[int]) -> Sequence[int]:
    """Whose arrows are drawn among many: the tokens found, else those that went furthest."""
    if matched:
        return list(matched)[:MOST_ARROWS]
    return np.argsort(-np.square(end - start).sum(axis=1), kind="stable")[:MOST_ARROWS].tolist()


def _arrows(start: np.ndarray, end: np.ndarray, chosen: Sequence[int]) -> list[dict[str, Any]]:
    """Arrows as one line that is interrupted; none where nothing moved."""
    there = np.asarray(list(chosen), dtype=np.int64)
    if not len(there) or np.array_equal(start[there], end[there]):
        return []
    way = np.stack([start[there], end[there], np.full((len(there), 2), np.nan)], axis=1).reshape(-1, 2)
    head = {
        "symbol": "arrow",
        "angleref": "previous",
        "size": np.tile([0, 7, 0], len(there)),
        "standoff": np.tile([0, 4, 0], len(there)),
        "color": theme.QUIET,
    }
    x, y = way.astype(np.float32).T
    return [drawing.line(x, y, "from where it was", drawing.stroke(theme.QUIET, 1), marker=head, opacity=0.65)]


def _points(result: Result, whole: bool, faint: bool) -> list[dict[str, Any]]:
    """A trace per group, those of no group first, drawn by the graphics card where there are many."""
    traces: list[dict[str, Any]] = []
    for position, name in [(-1, OTHERS), *enumerate(quoted(result.groups))]:
        members = np.flatnonzero(result.group == position)
        if not len(members):
            continue
        plain = position < 0 or name == NEUTRAL
        marker = {
            "color": theme.QUIET if plain else group_colour(name, position),
            "symbol": "circle" if whole and plain else group_symbol(name, position),
            "size": (3 if plain else 5) if whole else 7,
            "opacity": 0.45 if whole and plain else 0.9,
        }
        if faint:  # in the legend as ever
            traces.append(drawing.entry(name, marker, type=_kind(whole), legendgroup=name))
            marker = marker | {"opacity": _FAINT}
        traces.append(
            drawing.points(
                result.xy[members, 0],
                result.xy[members, 1],
                marker,
                "<b>%{text}</b> (token %{customdata})",
                name,
                type=_kind(whole),
                text=quoted([result.token[i] for i in members.tolist()]),
                customdata=result.ids[members].astype(np.int32),
                legendgroup=name,
                showlegend=not faint,
            )
        )
    return traces


def _names(result: Result, pixels: np.ndarray, matched: Sequence[int], whole: bool) -> dict[str, Any]:
    """Names that fit beside their points without touching; of many tokens only those of the first that are found.

    Words are named without the space before them.
    """
    if whole:
        named = np.array(matched[:MOST_NAMED])
        names, order = [result.token[i] for i in matched[:MOST_NAMED]], range(len(named))
    else:
        named = np.arange(len(result.ids))
        names = [name.removeprefix(SPACE) for name in result.token]
        order = sorted(named.tolist(), key=lambda i: (i not in matched, result.groups[result.group[i]] == NEUTRAL, i))
    sides = place(pixels[named].astype(np.float64), names, order)
    there = named[list(sides)]
    return drawing.points(
        result.xy[there, 0],
        result.xy[there, 1],
        {"size": GAP, "opacity": 0},  # only to keep the text away from the point
        type=_kind(whole),
        mode="markers+text",
        text=quoted([names[i] for i in sides]),
        textposition=list(sides.values()),
        textfont={"size": 12, "color": FOUND} if whole else {"size": 11},
        showlegend=False,
    )


def _kind(whole: bool) -> str:
    """Who draws: the graphics card where points are many, and then all that is not to lie below those points."""
    return "scattergl" if whole else "scatter"


def in_words(result: Result, name: str, verdict: str) -> str:
    """Drift against the noise floor, and how far the map can be trusted, in a sentence."""
    trust = f"trustworthiness {result.trustworthiness:.2f} (1: its neighbours are those in the embedding, 0.5: chance)"
    if result.drift == 0:
        return f"**{name}**: the map that the others start from; {trust}."
    floor = f"noise floor {result.noise_floor:#.2g}" if result.noise_floor > 0 else "without noise, its axes are fixed"
    said = f" — {verdict}" if verdict else ""
    return f"**{name}**: tokens moved by {result.drift:#.2g} of the map's radius, {floor}{said}; {trust}."
