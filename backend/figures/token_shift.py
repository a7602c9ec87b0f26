"""The tokens that moved most: a ranking, every token against its frequency, and the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.token_neighbours import Result as Neighbours
from backend.analyses.token_shift import Result
from backend.derived.embedding_shift import MEASURES
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.tokens import FOUND, OTHERS, found, group_colour, group_symbol, quoted
from backend.vocabulary.display import visible

NAMES = {"l2": "l2", "cosine_distance": "cosine distance", "l2_centred": "l2 without the common drift"}
UNITS = {
    "l2": "length of the change (embedding units)",
    "cosine_distance": "1 − cosine of the row before and after",
    "l2_centred": "length of the change without the mean change of all tokens",
}


def chosen(result: Result, matrix: str, measure: str, search: str, most: int) -> list[int]:
    """Ids of the tokens that moved most, at most `most`; with a search those whose name holds it, whole names first.

    Case does not count, a typed space is ␣, and a number finds the token of that id.
    """
    values = np.nan_to_num(result.measure(measure, matrix), nan=-1.0)
    requests = visible(search).lower() if search else ""
    ids = range(len(result.token))
    if not search:
        return np.argsort(-values, kind="stable")[:most].tolist()
    results = [i for i in ids if requests in result.token[i].lower() or search.strip() == str(i)]
    whole = {
        i for i in results if result.token[i].lower().lstrip("␣") == requests.lstrip("␣") or search.strip() == str(i)
    }
    return sorted(results, key=lambda i: (i not in whole, -values[i]))[:most]


WORDS_GUIDE = Guide(
    "The words that moved most, compared with tokens that occur as often.",
    "Some of so many words stand out by chance, so look for a pattern.",
    "The bar is the length of the change over the median of tokens of the same frequency: 1 is typical. The neighbours "
    "are the tokens with the most similar embedding rows, before and after training. Blue words are positive in the "
    "lexicon, orange ones negative.",
)


def words_moved(result: Result, matrix: str, measure: str, most: int) -> list[int]:
    """Return the ids of the whole words that moved most for their frequency, those that occur in the texts first."""
    ratio = np.nan_to_num(result.against_frequency(measure, matrix), nan=0.0)
    words = [i for i, name in enumerate(result.token) if _is_word(name)]
    seen = [i for i in words if result.count[i] > 0]
    ids = seen if len(seen) >= most else words
    return sorted(ids, key=lambda i: -ratio[i])[:most]


def _is_word(name: str) -> bool:
    """Return whether a token can be a whole word: a space, then at least four letters."""
    return name.startswith("␣") and len(name) > 4 and name[1:].isalpha()


def words(result: Result, matrix: str, measure: str, ids: Sequence[int], title: str) -> go.Figure:
    """Draw how far words moved for their frequency, as bars coloured by word group; 1 is typical."""
    ratio = result.against_frequency(measure, matrix)
    names = theme.literals([result.token[i].lstrip("␣") for i in ids])
    groups = [int(result.group[i]) for i in ids]
    return theme.figure(
        [
            drawing.bars(
                ratio[list(ids)],
                names,
                [group_colour(result.groups[group], group) if group >= 0 else theme.QUIET for group in groups],
                "%{y}: %{x:.2f} × typical, occurs %{customdata} times",
                customdata=[int(result.count[i]) for i in ids],
            )
        ],
        theme.literal(title),
        height=_height(len(ids)),
        xaxis=theme.axis("× the median of equally frequent tokens"),
        yaxis=drawing.NAMES,
        shapes=[drawing.upright(1.0, dash="dash")],
    )


def near_words(near: Neighbours, most: int = 5) -> list[dict[str, str]]:
    """Return a row per word with its nearest tokens before and after."""
    return [
        {
            "word": row["token"].lstrip("␣"),
            "near before": _without_spaces(row["nearest_before"], most),
            "near after": _without_spaces(row["nearest_after"], most),
        }
        for row in near.tokens()
    ]


def _without_spaces(names: str, most: int) -> str:
    return ", ".join(name.lstrip("␣") or name for name in names.split(" ")[:most])


def guide(result: Result) -> Guide:
    """Return the guide of the ranking and of the frequencies."""
    return Guide(
        "How far the embedding row of each token moved.",
        "Compare a token only with tokens of its frequency.",
        "Frequent tokens move because they are read often. "
        "Where one matrix embeds and unembeds, rare tokens move because they are hardly ever the answer. "
        f"{result.count_note}",
    )


def ranked(result: Result, matrix: str, measure: str, ids: Sequence[int], title: str) -> go.Figure:
    """Bars from the token that moved most, coloured by word group; the mean of all tokens is dashed."""
    title = theme.literal(title)
    values = result.measure(measure, matrix)
    order = sorted(ids, key=lambda i: -np.nan_to_num(values[i]))
    names = quoted([result.token[i] for i in order])
    traces: list[dict[str, Any]] = []
    for position, name in [*enumerate(quoted(result.groups)), (-1, OTHERS)]:
        places = [place for place, i in enumerate(order) if result.group[i] == position]
        if not places:
            continue
        traces.append(
            drawing.bars(
                values[[order[place] for place in places]],
                places,
                theme.QUIET if position < 0 else group_colour(name, position),
                "%{customdata}",
                name,
                customdata=[_hover(result, order[place]) for place in places],
            )
        )
    return theme.figure(
        traces,
        title,
        height=_height(len(order)),
        barmode="overlay",
        bargap=0.25,
        xaxis=theme.axis(f"{UNITS[measure]}<br>dashed: mean of all tokens", rangemode="tozero"),
        yaxis=theme.axis(
            "",
            tickmode="array",
            tickvals=list(range(len(order))),
            ticktext=names,
            range=[len(order) - 0.5, -0.5],
            showgrid=False,
            fixedrange=True,
        ),
        shapes=[drawing.upright(float(np.nanmean(values)), dash="dash")],
        margin={"l": 48, "r": 12, "t": 62, "b": 44},
    )


def _height(bars: int) -> int:
    return 140 + 19 * max(3, bars)


def _hover(result: Result, token: int) -> str:
    """A token's numbers on three lines."""
    name = quoted([result.token[token]])[0]
    numbers = ", ".join(f"{NAMES[one]} {result.measure(one, 'input')[token]:.3g}" for one in MEASURES)
    return f"<b>{name}</b> (token {token}), {int(result.count[token]):,} times in the texts<br>{numbers}"


def by_frequency(
    result: Result, matrix: str, measure: str, matched: Sequence[int], title: str, bars: int = 0
) -> go.Figure:
    """Every token at its count (log axis; never seen: at the left) and its shift; `found` ones are ringed and named.

    As high as the picture of so many `ranked` bars.
    """
    title = theme.literal(title)
    values = result.measure(measure, matrix).astype(np.float32)
    x = np.where(result.count > 0, result.count, 0.4).astype(np.float32)
    traces: list[dict[str, Any]] = []
    for position, name in [(-1, OTHERS), *enumerate(quoted(result.groups))]:
        ids = np.flatnonzero((result.group == position) & np.isfinite(values))
        traces.append(
            drawing.points(
                x[ids],
                values[ids],
                {
                    "color": theme.QUIET if position < 0 else group_colour(name, position),
                    "symbol": "circle" if position < 0 else group_symbol(name, position),
                    "size": 4 if position < 0 else 6,
                    "opacity": 0.35 if position < 0 else 0.9,
                },
                "<b>%{text}</b>: %{y:.3g}, %{customdata:,} times",
                name,
                type="scattergl",
                text=quoted([result.token[i] for i in ids.tolist()]),
                customdata=result.count[ids].astype(np.int32),
            )
        )
    if len(matched):
        there = list(matched)
        words = {"text": quoted([result.token[i] for i in there]), "textposition": "middle right"}
        words |= {"mode": "markers+text", "textfont": {"color": FOUND, "size": 12}}
        traces.append(found(x[there], values[there], **words))
    seen = result.count.max(initial=1)
    ticks = [0.4, *(10**power for power in range(int(np.log10(max(seen, 1))) + 1))]
    return theme.figure(
        traces,
        title,
        height=max(460, _height(bars)),
        dragmode="zoom",
        uirevision=f"{matrix} {measure}",
        xaxis=theme.axis(
            f"occurrences in the texts of the {result.counted_in}",
            type="log",
            tickvals=ticks,
            ticktext=["never", *(f"{tick:,}" for tick in ticks[1:])],
        ),
        yaxis=theme.axis(UNITS[measure], rangemode="tozero"),
        margin={"l": 48, "r": 12, "t": 62, "b": 44},
    )


TABLE_GUIDE = Guide(
    "The numbers of the same tokens, and their nearest tokens.",
    "Tokens that are rare in the texts have neighbours by chance, which any change exchanges.",
    "A space is ␣ and a line break is ↵. A byte that is part of a character reads <0xE2>.",
)


def table(result: Result, matrix: str, ids: Sequence[int], near: Neighbours | None) -> list[dict[str, Any]]:
    """A row per token: its shift, how often it occurs, and its neighbours before and after where they are known."""
    kept = {} if near is None else {row["token_id"]: row for row in near.tokens()}
    rows = []
    for i in ids:
        row: dict[str, Any] = {"token": result.token[i]}
        if i in kept:
            share = kept[i]["overlap"]
            row |= {
                "neighbours kept": "" if share is None else f"{100 * share:.0f} %",
                "nearest before": kept[i]["nearest_before"],
                "nearest after": kept[i]["nearest_after"],
            }
        row |= {NAMES[one]: _number(result.measure(one, matrix)[i]) for one in MEASURES}
        row |= {"count": int(result.count[i]), "group": result.groups[result.group[i]] if result.group[i] >= 0 else ""}
        rows.append(row | {"id": i})
    return rows


WIDTHS = {"nearest before": 250, "nearest after": 250}
"""Widths in pixels of columns that would otherwise hide all others."""


def _number(value: float) -> float | None:
    """Four significant digits."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
