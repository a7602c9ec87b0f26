"""How many of their nearest tokens some tokens kept, as bars that name the neighbours before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.token_neighbours import Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.tokens import quoted

_LINE = 5
"""Neighbours on a line of what is read when one points at a bar."""


GUIDE = Guide(
    "Whether the nearest tokens by cosine are still the same.",
    "A token that never meant much exchanges its neighbours easily.",
    "Point at a bar to see the neighbours. A token can move far and keep neighbours that move with it.",
)


def draw(result: Result, title: str, most: int = 30) -> go.Figure:
    """A bar for the first tokens of the result with the share of their nearest tokens that stayed."""
    title = theme.literal(title)
    rows = list(result.tokens())[:most]
    share = np.array([np.nan if row["overlap"] is None else 100 * row["overlap"] for row in rows])
    said = [_hover(row) for row in rows]
    trace = drawing.bars(
        share.astype(np.float32),
        list(range(len(rows))),
        theme.DIRECTION,
        "%{customdata}",
        customdata=said,
        showlegend=False,
    )
    return theme.figure(
        [trace],
        title,
        height=120 + 19 * max(3, len(rows)),
        bargap=0.25,
        xaxis=theme.axis(f"share of the {result.before.shape[1]} nearest tokens that stayed (%)", range=[0, 103]),
        yaxis=theme.axis(
            "",
            tickmode="array",
            tickvals=list(range(len(rows))),
            ticktext=quoted([row["token"] for row in rows]),
            range=[len(rows) - 0.5, -0.5],
            showgrid=False,
            fixedrange=True,
        ),
        margin={"l": 48, "r": 12, "t": 62, "b": 44},
    )


def _hover(row: dict[str, Any]) -> str:
    """The neighbours before and after, those that did not stay in italics."""
    before, after = row["nearest_before"].split(), row["nearest_after"].split()
    return f"<b>{quoted([row['token']])[0]}</b><br>before: {_listed(before, after)}<br>after: {_listed(after, before)}"


def _listed(names: list[str], others: list[str]) -> str:
    if not names:
        return "none, the row is zero"
    told = [name if one in others else f"<i>{name}</i>" for name, one in zip(quoted(names), names, strict=True)]
    return "<br>".join("  ".join(told[i : i + _LINE]) for i in range(0, len(told), _LINE))
