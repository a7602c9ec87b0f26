"""A typed text under steering: logit difference over the coefficient, and a table of generated continuations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.steered_text import TOKENS, Query, Result, Written, WrittenQuery
from backend.figures.steering import coefficients_axis, spread
from backend.figures.style import drawing, text, theme
from backend.figures.style.guide import Guide

GUIDE = Guide(
    "The logit difference of this text at each coefficient; the class wins above the dotted line.",
    "Any vector of this length may do the same.",
    "The Swaps page, under Steering, compares with directions from shuffled labels.",
)


def least_flip(result: Result, query: Query) -> float:
    """Return the smallest coefficient at which the answer is another than without steering, else the smallest one."""
    answers = np.argmax(result.probability, axis=1)
    plain = answers[query.alphas.index(0.0)]
    sizes = sorted((alpha for alpha in query.alphas if alpha), key=lambda alpha: (abs(alpha), -alpha))
    flips = [alpha for alpha in sizes if answers[query.alphas.index(alpha)] != plain]
    return (flips or sizes)[0]


def coefficients(
    results: Sequence[Result],
    queries: Sequence[Query],
    places: Sequence[int],
    count: int,
    words: Sequence[str],
    alpha: float,
) -> go.Figure:
    """The logit difference over the coefficient, one curve per model.

    Rings mark the chosen coefficient, the dotted line is where the answer turns.

    `places` are the models' places among the study's `count`.
    """
    traces: list[dict[str, Any]] = []
    for result, query, place in zip(results, queries, places, strict=True):
        name = theme.literal(query.checkpoint.label)
        colour, x = theme.checkpoint_colour(place, count), spread(query.alphas)
        requests = 1 if len(words) == 2 else query.direction
        traces.append(
            drawing.line(
                x,
                result.logit_diff,
                name,
                drawing.stroke(colour, 2.4),
                "α = %{customdata[0]:.3g}: logit difference %{y:.3g}, "
                + text.shown(words[requests])
                + " %{customdata[1]:.1f} %",
                {"size": 7},
                customdata=drawing.ends(query.alphas, 100 * result.probability[:, requests]),
            )
        )
        at = query.alphas.index(alpha)
        traces.append(drawing.ring([x[at]], [float(result.logit_diff[at])], 15, showlegend=False))
    word = text.shown(words[1 if len(words) == 2 else queries[0].direction])
    return theme.figure(
        traces,
        f"Logit difference of {word} over the coefficient, direction at layer {queries[0].layer} (nats)",
        height=360,
        shapes=[drawing.level(0, dash="dot")],
        xaxis=coefficients_axis(queries[0].alphas),
        yaxis=theme.axis("logit difference (nats)"),
        **drawing.below(56),
    )


def answer(result: Result, query: Query, words: Sequence[str], alpha: float) -> str:
    """In words, what the model answers as it is and at the coefficient."""
    if np.isnan(result.logit_diff).any():
        return f"There is no direction at layer {query.layer}: all texts of the sample have the same residual there."
    said: list[str] = []
    for a in (query.alphas.index(0.0), query.alphas.index(alpha)):
        best = int(result.probability[a].argmax())
        said.append(f"“{words[best]}” ({100 * result.probability[a, best]:.1f} %)")
    return f"{query.checkpoint.label} answers {said[0]} as it is, {said[1]} at α = {alpha:g}."


WRITTEN_GUIDE = Guide(
    f"At most {TOKENS} generated tokens, greedy and sampled.",
    "A large coefficient ends in repetition.",
    "At coefficient 0 every direction gives the same text. "
    "At the readout position only the first new token is steered.",
)


def written(results: Sequence[Written], queries: Sequence[WrittenQuery]) -> list[dict[str, str]]:
    """One row per model and coefficient, with what it writes greedily and when drawn."""
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for result, query in zip(results, queries, strict=True):
        row = cells.setdefault((query.checkpoint.label, query.alpha), {})
        row["model"] = query.checkpoint.label
        row["coefficient"] = f"α = {query.alpha:g}" if query.alpha else "as it is"
        way = "greedy" if query.temperature is None else f"drawn at {query.temperature:g}, seed {query.seed}"
        row[way] = " ".join(result.text.split()) or "(the text ends here)"
    return list(cells.values())


def cut_short(queries: Sequence[WrittenQuery]) -> str:
    """Say that the prompt leaves a model less room than the tokens that it would write; empty if none is short."""
    for query in queries:
        longest, name = query.checkpoint.facts.longest, query.checkpoint.label
        taken = len(query.text.seen_by(query.checkpoint).token_ids[0])
        if longest is not None and longest - taken + 1 < query.tokens:
            return (
                f"The prompt takes {taken} of the {longest} tokens that {name} reads, so what follows may be short. "
                "A shorter text leaves room for more."
            )
    return ""
