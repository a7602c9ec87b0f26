"""Word groups against chance: each group's mean shift beside the bands of random and of frequency-matched groups."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from backend.analyses.token_groups import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.tokens import group_colour, group_symbol, quoted
from backend.figures.token_shift import UNITS

_BANDS = {"random": ("random groups of equal size", 0.14), "matched": ("groups matched in frequency", -0.14)}


def _column(result: Result, matrix: str, measure: str) -> int:
    """The measure's place; tied matrices have one."""
    requests = measure if matrix == "input" else f"output_{measure}"
    return result.measures.index(requests if requests in result.measures else measure)


def guide(result: Result) -> Guide:
    """Return the guide of the word groups."""
    return Guide(
        "The mean shift of each group with its 95 % interval, and the bands of random groups.",
        "Only a shift beyond the frequency-matched band is about meaning.",
        f"A band holds 95 % of 1,000 random groups. {result.count_note}",
    )


def draw(result: Result, matrix: str, measure: str, title: str) -> go.Figure:
    """A line per group with tokens: its mean with its 95 % interval, above the two bands that hold 95 % of groups."""
    title = theme.literal(title)
    m = _column(result, matrix, measure)
    there = [g for g in range(len(result.groups)) if result.n[g] > 0]
    places = {g: len(there) - 1 - i for i, g in enumerate(there)}  # the first at the top
    names = quoted(result.groups)
    traces = [_band(result, null, m, places) for null in _BANDS]
    for g in there:
        name = names[g]
        mean, low, high = (end[g : g + 1, m] for end in result.mean.ends)
        traces.append(
            drawing.points(
                mean,
                [places[g]],
                {"color": group_colour(name, g), "symbol": group_symbol(name, g), "size": 12},
                f"mean %{{x:.4g}} ({low[0]:.4g} to {high[0]:.4g}) of {int(result.n[g]):,} tokens",
                name,
                error_x=drawing.error_bars(mean, low, high, thickness=1.6, width=5),
                showlegend=False,
            )
        )
    return theme.figure(
        traces,
        title,
        height=150 + 76 * len(there),
        xaxis=theme.axis(f"mean {UNITS[measure]}"),
        yaxis=theme.axis(
            "",
            tickmode="array",
            tickvals=[places[g] for g in there],
            ticktext=[f"{names[g]} ({int(result.n[g]):,})" for g in there],
            range=[-0.6, len(there) - 0.4],
            showgrid=False,
            fixedrange=True,
        ),
        margin={"l": 48, "r": 12, "t": 62, "b": 44},
    )


def _band(result: Result, null: str, m: int, places: dict[int, int]) -> dict[str, Any]:
    """The middle 95 % of drawn groups as thick lines, a dot at their mean."""
    name, aside = _BANDS[null]
    middle, low, high = (end[list(places), m] for end in getattr(result, null).ends)
    p = getattr(result, f"{null}_p")[list(places), m]
    colour = theme.QUIET if null == "random" else theme.DIRECTION
    return drawing.points(
        middle,
        [place + aside for place in places.values()],
        {"color": colour, "symbol": "line-ns", "size": 11, "line": {"width": 2, "color": colour}},
        "%{x:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g}), p = %{customdata[2]:.2g}",
        name,
        error_x=drawing.error_bars(middle, low, high, thickness=7, width=0, color=theme.veil(colour, 0.45)),
        customdata=drawing.ends(low, high, p),
    )


def in_words(result: Result, name: str, matrix: str, measure: str, group: int) -> str:
    """What the picture says of one group, called `name`, in a sentence."""
    m, n = _column(result, matrix, measure), int(result.n[group])
    of = f"{n:,} of {int(result.listed[group]):,} words are one token"
    if n == 0:
        return f"**{name}**: none of its {result.listed[group]:,} words is one token, so there is nothing to measure."
    random, matched = (_side(result, null, group, m) for null in _BANDS)
    return f"**{name}** ({of}) moved {random}, and {matched}."


def _side(result: Result, null: str, group: int, m: int) -> str:
    """Where the group stands among the drawn ones."""
    mean, band = result.mean.value[group, m], getattr(result, null)
    low, high, p = band.low[group, m], band.high[group, m], getattr(result, f"{null}_p")[group, m]
    how = "within the band of" if low <= mean <= high else "further than" if mean > high else "less far than"
    return f"{how} {_BANDS[null][0]} (p = {p:.2g})"
