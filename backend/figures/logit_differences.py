"""Draw changed predictions: tokens that became likelier or rarer, their topics with passages, and a text's KL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.logit_differences import WAYS, Result, Text, Way
from backend.figures.style import drawing, seed_floor, text, theme, token_bands
from backend.figures.style.guide import Guide
from backend.figures.style.tokens import distinct, spoken
from backend.vocabulary.display import SPACE

NAMES: dict[Way, str] = {"likelier": "likelier", "rarer": "rarer"}
STABLE = 0.5
"""Cosine in both halves from which a topic counts as found again, if it exceeds chance too."""

GUIDE = Guide(
    "The next tokens whose probability changed most, averaged over all positions, with 95 % intervals.",
    "Grey bars lie within the floor: the choice of texts alone moves some token as far.",
    "In 5 % of random halvings of the texts, some token of the vocabulary moves beyond its floor. "
    "A dashed line is the largest change of a token between two seeds. "
    "Frequent tokens move most in probability, so also read the topics.",
)
TOPICS_GUIDE = Guide(
    "Tokens that changed at the same positions, grouped into topics, with the passages where each shows most.",
    "Trust a topic that both halves of the texts find again, above chance.",
    "Non-negative matrix factorization of positions × tokens. An entry is a token's part in the KL, rooted. "
    "Chance is the same with tokens shuffled over positions.",
)
TEXT_GUIDE = Guide(
    "How far the prediction after each token differs from the reference, in nats.",
    "A rare token that both find unlikely adds little, however its logit moved.",
    "Point at a token to see which next tokens became likelier and rarer there.",
)


def tokens(result: Result, way: Way, name: str, seeds: Sequence[Result] = ()) -> go.Figure:
    """Draw the listed tokens of one way as bars with intervals, grey within the floor.

    `seeds` are results of twins that only their seed tells apart; the largest change of a token there is dashed.
    """
    value, low, high = (1e3 * end for end in result.change.ends)
    floor = np.zeros_like(value) if result.change.chance is None else 1e3 * result.change.chance
    at = np.flatnonzero(value > 0) if way == "likelier" else np.flatnonzero(value < 0)[::-1]
    named = distinct([result.token[i] for i in at])
    colour = theme.checkpoint_colour(1, 2)
    beyond = np.abs(value) > np.nan_to_num(floor, nan=0.0)
    return theme.figure(
        [
            drawing.bars(
                value[at].astype(np.float32),
                named,
                [colour if beyond[i] else theme.QUIET for i in at],
                f"%{{y}}: %{{x:.3g}} in a thousand{drawing.LIMITS}, "
                "from %{customdata[2]:.3g} % to %{customdata[3]:.3g} %",
                error_x=drawing.error_bars(value[at], low[at], high[at], color=theme.QUIET),
                customdata=drawing.ends(low[at], high[at], 100 * result.before[at], 100 * result.after[at]),
            )
        ],
        f"{theme.literal(name)}: {NAMES[way]} next tokens",
        height=110 + 19 * max(1, len(at)),
        xaxis=theme.axis("change of probability, in a thousand", rangemode="tozero"),
        yaxis=drawing.NAMES | {"tickfont": {"size": 11}},
        shapes=[
            drawing.upright(1e3 * most, dash="dash", color=seed_floor.COLOUR)
            for most in (largest(one, way) for one in seeds)
        ],
    )


def largest(result: Result, way: Way) -> float:
    """Return the largest change of a token's probability, positive for likelier tokens; 0 if none changed."""
    value = result.change.value
    return float(value.max(initial=0.0) if way == "likelier" else value.min(initial=0.0))


def topics(result: Result, way: Way) -> list[dict[str, str]]:
    """Return a row per topic: its share, whether halves of the texts find it again, tokens and passages."""
    return [
        {
            "share": f"{100 * topic.share:.0f} %",
            "found again": f"{topic.stability:.2f} (chance {topic.chance:.2f})",
            "tokens": ", ".join(token.removeprefix(SPACE) or token for token in topic.token),
            "passages": "; ".join(
                f"{before} [{instead.replace(SPACE, '')}]"
                for before, instead in zip(topic.before[:2], topic.instead, strict=False)
            ),
        }
        for topic in result.topics
        if topic.way == way
    ]


def stable(result: Result) -> list[int]:
    """Return the positions of the topics that both halves of the texts find again, above chance."""
    return [i for i, one in enumerate(result.topics) if one.stability > max(STABLE, np.nan_to_num(one.chance))]


def in_words(result: Result, name: str) -> str:
    """Return the answer in words: how far predictions moved, and the largest topic that is found again."""
    value, low, high = (float(end) for end in result.kl.ends)
    said = f"The predictions of **{name}** differ by {value:.3g} nats per token ({low:.3g} to {high:.3g})."
    for way in WAYS:
        found = [result.topics[i] for i in stable(result) if result.topics[i].way == way]
        if found:
            said += f" The largest stable topic that became {NAMES[way]}: {spoken(found[0].token[:6])}."
    return said


def beyond_seed(result: Result, floor: Result, name: str, twin: str, other: str) -> str:
    """Say how far the predictions of two seeds differ, and whether the checkpoint went further."""
    value, low, high = (float(end) for end in floor.kl.ends)
    further = "further than that" if result.kl.low > high else "no further than that, up to its interval"
    return (
        f"A mere change of seed, that of **{twin}** to **{other}**, moves predictions by {value:.3g} nats per token "
        f"({low:.3g} to {high:.3g}). **{name}** went {further}."
    )


def text_kl(result: Text, name: str) -> go.Figure:
    """Draw a text with the KL of each prediction below its token."""
    values = np.append(result.kl, np.nan)[:, None]
    said = [
        f"after {text.shown(piece, 24)}; likelier: {text.shown(up)}; rarer: {text.shown(down)}"
        for piece, up, down in zip(result.pieces, (*result.likelier, ""), (*result.rarer, ""), strict=True)
    ]
    bands = [token_bands.Band("KL", values, np.array(said, dtype=object)[:, None])]
    reach = token_bands.reach([values])
    scales: dict[str, Any] = {"coloraxis": token_bands.scale(0.0, reach, "nats", 0.0, theme.SEQUENTIAL)}
    return token_bands.draw(result.pieces, bands, f"{theme.literal(name)}: KL of every prediction (nats)", scales)
