"""Draw a typed text: every token with its layers, and every word with its effect on the logit difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from backend.analyses.review import Parts, Tokens
from backend.figures.review import against, sides
from backend.figures.style import text, theme, token_bands
from backend.figures.style.guide import Guide
from backend.study.facts import Facts
from backend.study.kinds import UNASKED

Heat = Literal["logit_diff", "projection", "next", "norm", "relative"]
HEATS: dict[Heat, str] = {
    "logit_diff": "Logit difference",
    "projection": "Along the direction",
    "next": "Probability of what came next",
    "norm": "Length",
    "relative": "Length against the layer's median",
}
BARS: dict[Heat, str] = {
    "logit_diff": "logit difference (nats)",
    "projection": "class distances",
    "next": "probability",
    "norm": "l2 norm",
    "relative": "times the median",
}
WORD_LINE = 46
"""Characters in a line of words: what fits beside the sidebar on a small screen."""
HIGHLIGHT = 0.55
"""Opacity of the strongest highlight: text of either theme keeps a contrast of 4.5 on it."""


TOKENS_GUIDE = Guide(
    "The prompt as the models see it, with the layers of each token below it.",
    "The first token is often extreme, because many tokens attend to it.",
    "The first layer is at the bottom. Point at a cell to see the five likeliest next tokens. "
    "The direction was measured at the readout position, and other tokens only borrow it. "
    "Compare with the length of the residual.",
)


def tokens(
    results: Sequence[Tokens],
    names: Sequence[str],
    pieces: Sequence[str],
    heat: Heat,
    words: Sequence[str],
    at: int = 0,
) -> go.Figure:
    """Draw the text with the layers of each token below it: reference, checkpoint, and their difference."""
    names = theme.literals(names)
    values = [_values(result, heat, at) for result in results]
    named = [text.shown(piece, 24) for piece in pieces]
    bands = [
        token_bands.Band(name, value, _hovers(result, named))
        for name, value, result in zip(names, values, results, strict=True)
    ]
    scales: dict[str, Any] = {"coloraxis": _scale(heat, values)}
    if len(values) > 1:
        change = values[1] - values[0]
        said = np.array([[f"{name}, layer {layer}, difference" for layer in range(change.shape[1])] for name in named])
        bands.append(token_bands.Band(f"{names[1]} − {names[0]}", change, said, "coloraxis2"))
        reach = token_bands.reach([change])
        scales["coloraxis2"] = token_bands.scale(-reach, reach, "difference", 0.5)
    return token_bands.draw(pieces, bands, f"Every token at every layer: {_unit(heat, words, at)}", scales)


def _values(result: Tokens, heat: Heat, at: int) -> np.ndarray:
    """Return the values of a heat, [tokens, layers]."""
    if heat in ("logit_diff", "projection"):
        return (result.logit_diff if heat == "logit_diff" else result.place)[:, :, at]
    if heat == "next":
        return result.next_probability.astype(np.float64)
    return result.norm if heat == "norm" else result.relative


def _scale(heat: Heat, values: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the colour axis of a heat: from 0, or centred on its usual value."""
    if heat in ("next", "norm"):
        return token_bands.scale(0.0, token_bands.reach(values), BARS[heat], 0.0, theme.SEQUENTIAL)
    middle = {"logit_diff": 0.0, "projection": 0.5, "relative": 1.0}[heat]
    reach = token_bands.reach(values, middle)
    return token_bands.scale(middle - reach, middle + reach, BARS[heat], 0.0)


def undefined(heat: Heat, models: Sequence[Facts]) -> str:
    """Say why a heat is undefined for these models; empty where it is defined."""
    if heat == "next" and not any(checkpoint.predicts for checkpoint in models):
        return "These models predict no next token, so there is no probability of what came next."
    if heat == "logit_diff" and not all(checkpoint.asked for checkpoint in models):
        return UNASKED
    if heat == "logit_diff" and not any(checkpoint.replies for checkpoint in models):
        return "Without a classification head there is no logit difference."
    return ""


def _unit(heat: Heat, words: Sequence[str], at: int) -> str:
    low, high = sides(words, at)
    along = f"place along the direction (0 = mean of {text.shown(low)}, 1 = {text.shown(high)})"
    units = {
        "logit_diff": f"logit difference, {against(words, at)} (nats)",
        "projection": along,
        "next": "probability of what came next",
        "norm": "length of the residual",
        "relative": "length of the residual, in median lengths of the layer",
    }
    return units[heat]


def _hovers(result: Tokens, named: Sequence[str]) -> np.ndarray:
    """Return what pointing shows, [tokens, layers]: the token, the layer, the likeliest next tokens."""
    safe = [text.shown(word, 24) for word in result.words]
    said = np.empty(result.top.shape[:2], dtype=object)
    shares = np.round(100 * result.top_probability.astype(np.float64)).astype(int).tolist()
    for t, of_token in enumerate(result.top.tolist()):
        for layer, best in enumerate(of_token):
            following = ", ".join(f"{safe[w]} {share} %" for w, share in zip(best, shares[t][layer], strict=True))
            said[t, layer] = f"{named[t]}, layer {layer}<br>{following}"
    return said


def parts(
    results: Sequence[Parts], names: Sequence[str], texts: Sequence[str], layer: int, words: Sequence[str], at: int = 0
) -> list[go.Figure]:
    """Draw the text once per checkpoint, its parts coloured by their effect on the logit difference at a layer."""
    names = theme.literals(names)
    return [
        _highlighted(result, name, texts, layer, words, at, _reach(results, layer, at))
        for result, name in zip(results, names, strict=True)
    ]


def parts_guide(texts: Sequence[str]) -> Guide:
    """Return the guide of `parts`."""
    return Guide(
        "The logit difference of the whole text minus that of the text without each word.",
        "Words that say the same hide each other, so effects do not add up.",
        f"Only words that the models see are ablated.{grouped(texts)} A text with a gap reads oddly.",
    )


def grouped(texts: Sequence[str]) -> str:
    """Return the sentence that the guide adds where several words are ablated at a time."""
    most = max(len(text.split()) for text in texts)
    return f" The text is long, so {most} words in a row are ablated at a time." if most > 1 else ""


def _reach(results: Sequence[Parts], layer: int, at: int) -> float:
    return max(1e-6, *(float(np.abs(result.effect[:, layer, at]).max()) for result in results))


def _highlighted(
    result: Parts, name: str, texts: Sequence[str], layer: int, words: Sequence[str], at: int, reach: float
) -> go.Figure:
    effect = result.effect[:, :, at]
    strongest = np.abs(effect).argmax(axis=1)
    pieces = [" " + " ".join(text.split()) for text in texts]
    lines = text.lay_out(pieces, WORD_LINE)
    pitch = 26
    traces: list[dict[str, Any]] = []
    for i, line in enumerate(lines):
        index = [cell.index for cell in line]
        said = [
            f"{text.shown(texts[k])}<br>layer {layer}: {effect[k, layer]:+.3g}<br>"
            f"most at layer {strongest[k]}: {effect[k, strongest[k]]:+.3g}"
            for k in index
        ]
        trace = token_bands.heat(
            line, [i * pitch + 2, i * pitch + pitch - 2], effect[index, layer][None], [said], "coloraxis"
        )
        traces.append(trace | {"hovertemplate": "%{text}<extra></extra>", "xgap": 2})
    traces.append(text.labels(lines, pieces, [(i + 0.5) * pitch for i in range(len(lines))]))
    colours = [
        [0.0, theme.veil(theme.NEGATIVE, HIGHLIGHT)],
        [0.5, "rgba(150,156,168,0)"],
        [1.0, theme.veil(theme.POSITIVE, HIGHLIGHT)],
    ]
    towards = f"towards {' ⟷ '.join(map(text.shown, sides(words, at)))} (nats)"
    scale = token_bands.scale(-reach, reach, towards, 0.0, colours)
    return token_bands.figure(
        traces,
        f"{name}, layer {layer}: what each word adds to the logit difference",
        len(lines) * pitch,
        coloraxis=scale,
        **text.plain_axes(WORD_LINE, len(lines) * pitch),
    )
