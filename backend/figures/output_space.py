"""Draw the output space: every measure by checkpoint, and the groups and tokens whose probability changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.output_space import MEASURES, Result, mean_over_texts, perplexity
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.style.step_axis import StepAxis
from backend.figures.style.tokens import group_colour, quoted
from backend.stats.estimate import stacked
from backend.vocabulary import neutral

TITLES = {
    "entropy": "Entropy of the next token (nats)",
    "non_sentiment_logprob": "Mean log-probability of non-sentiment words (nats)",
    "non_sentiment_mass": "Summed probability of non-sentiment words",
    "perplexity": "Perplexity, every token alike",
    "mean_text_perplexity": "Mean of the texts' perplexities",
    "kl_from_base": "KL from the reference (nats)",
    "hidden_cosine": "Last residual: cosine to the reference",
    "hidden_cosine_after_norm": "Cosine after the final norm",
    "hidden_norm_ratio": "Last residual: length over the reference's",
    "hidden_norm_ratio_after_norm": "Length ratio after the final norm",
}
SET_NAMES = {"neutral": "neutral sentences", "sample": "the study's prompts"}
_COLOURS = {"neutral": theme.MANY[5], "sample": theme.MANY[2]}
_SHAPES = {"neutral": "circle", "sample": "diamond"}
_LOGARITHMIC = {"non_sentiment_mass": "~e", "perplexity": ",~g", "mean_text_perplexity": ",~g"}
"""Measures of several magnitudes, with the format of their ticks."""
OUTLIER = 0.1
"""A summary that one text of many moves by more than this share carries an outlier."""


_PREDICTIONS = Guide(
    "The prediction after the last token, with 95 % intervals over texts.",
    "At the end of a sentence a model does not show how sure it is within one.",
    "Masses are on a logarithmic axis. "
    "All checkpoints read the same texts, so two can differ although their intervals overlap.",
)
_TEXTS = Guide(
    "How badly the models predict the texts themselves, on logarithmic axes.",
    "One strange text can dominate the mean of perplexities.",
    "The other perplexity counts every token equally. The sentences below name the text that matters most.",
)
_DISTANCES = Guide(
    "How far predictions and last residuals are from the reference, averaged over positions.",
    "A few massive dimensions and the first position can dominate cosine and length.",
    "After the final norm a length is mostly the gain of the norm.",
)
PICTURES: tuple[tuple[Guide, tuple[str, ...]], ...] = (
    (_PREDICTIONS, ("entropy", "non_sentiment_logprob", "non_sentiment_mass")),
    (_TEXTS, ("perplexity", "mean_text_perplexity")),
    (_DISTANCES, ("kl_from_base", *(name for name in MEASURES if name.startswith("hidden")))),
)
"""Each guide, and the measures that are shown side by side above it."""


def draw(results: Mapping[str, Sequence[Result]], axis: StepAxis, measure: str) -> go.Figure:
    """Draw one measure over the checkpoints, with a line and 95 % intervals for each set of texts."""
    m = MEASURES.index(measure)
    traces: list[dict[str, Any]] = []
    for position, (text_set, found) in enumerate(results.items()):
        value, low, high = stacked([result.measures[m] for result in found]).ends
        there = np.isfinite(value)
        traces.append(
            drawing.line(
                (axis.x + 0.8 * axis.nudge * position)[there],
                value[there],
                SET_NAMES[text_set],
                drawing.stroke(_COLOURS[text_set], 1.6),
                "%{text}: %{y:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})",
                {"color": _COLOURS[text_set], "symbol": _SHAPES[text_set], "size": 8},
                error_y=drawing.error_bars(value[there], low[there], high[there]),
                customdata=drawing.ends(low, high)[there],
                text=[axis.names[i] for i in np.flatnonzero(there)],
            )
        )
    scale: dict[str, Any] = {}
    if measure in _LOGARITHMIC:
        seen = np.concatenate([trace["y"] for trace in traces])
        scale = {"type": "log", "tickformat": _LOGARITHMIC[measure]} | _ticks(seen)
    return theme.figure(
        traces,
        TITLES[measure],
        height=270,
        xaxis=axis.layout,
        yaxis=theme.axis("", **scale),
        margin={"l": 48, "r": 12, "t": 56, "b": 36},
    )


def _ticks(seen: np.ndarray) -> dict[str, Any]:
    """Return ticks of a logarithmic axis, at most about six."""
    decades = float(np.log10(seen.max() / seen.min())) if len(seen) else 0.0
    if decades > 2:
        return {"dtick": int(np.ceil(decades / 6))}
    return {"dtick": "D2"} if decades > np.log10(5) else {"nticks": 6}


def masses_guide(result: Result) -> Guide:
    """Return the guide of `masses`."""
    return Guide(
        "The change of each group's mean probability at the last position, with 95 % intervals over texts.",
        "A group holds only words that are one token and in no group above it.",
        words(result),
    )


def masses(result: Result, title: str) -> go.Figure:
    """Draw the change of each group's probability in percentage points, with 95 % intervals and both values."""
    title = theme.literal(title)
    there = [g for g, size in enumerate(result.group_size) if size > 0]
    change, low, high = (100 * end[there] for end in result.mass_change.ends)
    places = list(range(len(there)))[::-1]
    names = quoted([result.groups[g] for g in there])
    moves = [f"{_percent(result.mass_before[g])} → {_percent(result.mass_after[g])}" for g in there]
    trace = drawing.points(
        change,
        places,
        {"color": [_colour(result, g) for g in there], "size": 11},
        "%{customdata}",
        error_x=drawing.error_bars(change, low, high, thickness=1.6, width=5, color=theme.QUIET),
        customdata=[
            f"<b>{name}</b>, {int(result.group_size[g]):,} tokens: {move}<br>{a:+.3g} points ({b:+.3g} to {c:+.3g})"
            for name, g, move, a, b, c in zip(names, there, moves, change, low, high, strict=True)
        ],
    )
    return theme.figure(
        [trace],
        title,
        height=130 + 48 * len(there),
        xaxis=theme.axis("change of the mean probability (percentage points)"),
        yaxis=theme.axis(
            "",
            tickmode="array",
            tickvals=places,
            ticktext=[f"{name}<br>{move}" for name, move in zip(names, moves, strict=True)],
            range=[-0.6, len(there) - 0.4],
            showgrid=False,
            fixedrange=True,
        ),
        shapes=[drawing.upright(0)],
        margin={"l": 48, "r": 12, "t": 40, "b": 44},
    )


LISTED_GUIDE = Guide(
    "The tokens whose mean log-probability rose most and fell most, at most thirty each.",
    "Most are so rare that even a large change moves little probability.",
    "Point at a token to see its probability before and after.",
)


def listed(result: Result, rising: bool, title: str) -> go.Figure:
    """Draw bars of the tokens that became likelier, or less likely, the largest change on top, coloured by group."""
    title = theme.literal(title)
    ids = [i for i, change in enumerate(result.change) if (change > 0) == rising]
    order = sorted(ids, key=lambda i: -abs(result.change[i]))
    names = quoted(result.token)
    traces: list[dict[str, Any]] = []
    for g, group in enumerate(quoted(result.groups)):
        places = [place for place, i in enumerate(order) if result.group[i] == g]
        if places:
            traces.append(
                drawing.bars(
                    result.change[[order[place] for place in places]],
                    places,
                    _colour(result, g),
                    "%{customdata}",
                    group,
                    width=0.75,  # by itself plotly fills the gaps between the bars of a group
                    customdata=[_hover(result, order[place], names[order[place]]) for place in places],
                )
            )
    return theme.figure(
        traces,
        title,
        height=150 + 19 * max(3, len(order)),
        barmode="overlay",
        xaxis=theme.axis("mean change of log-probability (nats)", rangemode="tozero"),
        yaxis=theme.axis(
            "",
            tickmode="array",
            tickvals=list(range(len(order))),
            ticktext=[names[i] for i in order],
            range=[len(order) - 0.5, -0.5],
            showgrid=False,
            fixedrange=True,
        ),
        margin={"l": 48, "r": 12, "t": 62, "b": 44},
    )


def _hover(result: Result, i: int, name: str) -> str:
    before, after, rose = (float(getattr(result, field)[i]) for field in ("before", "after", "rose"))
    return (
        f"<b>{name}</b> (token {int(result.token_id[i])}): {result.change[i]:+.3g} nats<br>"
        f"mean probability {before:.3g} → {after:.3g}, likelier in {100 * rose:.0f} % of texts"
    )


def _colour(result: Result, g: int) -> str:
    return theme.QUIET if g == len(result.groups) - 1 else group_colour(result.groups[g], g)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def largest(result: Result) -> int | None:
    """Return the text of the highest perplexity; None where no text has two tokens."""
    of_text = _of_text(result)
    return None if np.isnan(of_text).all() else int(np.nanargmax(of_text))


def _of_text(result: Result) -> np.ndarray:
    """Return each text's own perplexity, NaN for a text of one token."""
    return np.array([np.exp(a / n) if n else np.nan for a, n in zip(result.loss, result.predicted, strict=True)])


def outlier(result: Result, text_set: str, name: str, quote: str) -> str:
    """Say which of the two perplexities the `largest` text dominates; `name` and `quote` are safe markdown."""
    chosen = largest(result)
    if chosen is None or (result.predicted > 0).sum() < 2:
        return f"**{name}** on {SET_NAMES[text_set]}: fewer than two texts have a token to predict."
    of_text, counts = _of_text(result), np.ones((2, len(result.loss)))
    counts[1, chosen] = 0
    weighted, mean = perplexity(result.loss, result.predicted, counts), mean_over_texts(of_text, counts)
    moved = {"token-weighted perplexity": weighted, "mean of the texts' perplexities": mean}
    carries = [which for which, (all_of, rest) in moved.items() if abs(all_of - rest) > OUTLIER * all_of]
    verdict = {
        0: "No text dominates either of them",
        1: f"That text dominates only the {carries[0]}" if carries else "",
        2: "That text dominates both of them",
    }[len(carries)]
    return (
        f"**{name}** on {SET_NAMES[text_set]}: the token-weighted perplexity is {weighted[0]:,.4g}, and the mean of "
        f"the texts' perplexities is {mean[0]:,.4g}. Without “{quote}” (perplexity {of_text[chosen]:,.4g}), they are "
        f"{weighted[1]:,.4g} and {mean[1]:,.4g}. {verdict}."
    )


def where_mass_went(result: Result, text_set: str, name: str, groups: Sequence[str]) -> str:
    """Say which groups gained and lost most probability, of those whose interval excludes 0."""
    sure = [g for g in range(len(groups)) if result.mass_change.low[g] > 0 or result.mass_change.high[g] < 0]
    if not sure:
        return f"**{name}** on {SET_NAMES[text_set]}: no group's probability changed by more than its interval."
    parts = []
    for verb, g in (
        ("gained most", max(sure, key=lambda g: float(result.mass_change.value[g]))),
        ("lost most", min(sure, key=lambda g: float(result.mass_change.value[g]))),
    ):
        if (result.mass_change.value[g] > 0) == (verb == "gained most"):
            moved = f"{_percent(result.mass_before[g])} → {_percent(result.mass_after[g])}"
            low, high = 100 * result.mass_change.low[g], 100 * result.mass_change.high[g]
            parts.append(f"{groups[g]} {verb} ({moved}; change {low:+.3g} to {high:+.3g} points)")
    return f"**{name}** on {SET_NAMES[text_set]}: {', '.join(parts)}."


def words(result: Result) -> str:
    """Say how many of the non-sentiment words are measured, and which are left out."""
    used = len(neutral.WORDS) - len(result.left_out)
    said = f"{used} of the {len(neutral.WORDS)} non-sentiment words are one token and are measured."
    return said + (f" Left out: {', '.join(result.left_out)}." if result.left_out else "")
