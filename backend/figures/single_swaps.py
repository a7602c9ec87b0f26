"""Draw a host with one part of a donor at a time, in a picture, a table and a sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from backend.analyses.swaps import Result
from backend.derived.swap_logits import Part
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.figures.swaps import PARTS, Measure, curves, levels, values

SINGLE_PARTS: tuple[Part, ...] = ("block", "embed", "final_norm", "head")
"""Parts that are swapped one at a time: each block, and what is outside the blocks."""

_TAKEN: dict[Part, str] = {"block": "block", "attn": "the attention of block", "mlp": "the MLP of block"}

PARTS_GUIDE = Guide(
    "The host with one part at a time taken from the donor, with 95 % intervals.",
    "A low value does not prove that nothing changed there.",
    "A part that fails alone may still be needed together with others. Where embeddings and head are one matrix, "
    "swapping only one is a state that training never saw.",
)
_SHORT: dict[Part, str] = {"embed": "emb.", "final_norm": "norm", "head": "head"}


def parts(
    result: Result, part: Part, outside: Mapping[Part, Result], measure: Measure, host: str, donor: str
) -> go.Figure:
    """Draw single swaps: a curve over the blocks, and a point for each part outside them."""
    figure = curves({"single": result}, part, measure, host, donor)
    blocks = int(result.last.max()) + 1
    at: dict[Part, float] = {"embed": -1.2, "final_norm": blocks + 0.2, "head": blocks + 1.4}
    names: list[Part] = [name for name in at if name in outside]
    if not names:
        return figure
    value, low, high = (np.array(end) for end in zip(*(_only(outside[name], measure) for name in names), strict=True))
    figure.add_trace(
        drawing.line(
            [at[name] for name in names],
            value,
            "parts outside the blocks",
            drawing.stroke(theme.PAIR[1]),
            "%{text}: %{y:.3g} (%{customdata[0]:.3g} to %{customdata[1]:.3g})",
            {"size": 9, "symbol": "square"},
            text=[PARTS[name] for name in names],
            customdata=drawing.ends(low, high),
            error_y=drawing.error_bars(value, low, high),
        )
        | {"mode": "markers"}
    )
    ticks = list(range(0, blocks, max(1, -(-blocks // 24))))
    figure.update_xaxes(
        title="block",
        tickmode="array",
        tickvals=[at[name] for name in names if name == "embed"]
        + ticks
        + [at[name] for name in names if name != "embed"],
        ticktext=[_SHORT[name] for name in names if name == "embed"]
        + [str(tick) for tick in ticks]
        + [_SHORT[name] for name in names if name != "embed"],
        range=[-1.9 if "embed" in names else -0.6, max([blocks - 0.4, *(at[name] + 0.7 for name in names)])],
    )
    return figure


def _only(result: Result, measure: Measure) -> tuple[float, float, float]:
    value, low, high = (float(end[0]) for end in values(result, measure))
    return value, low, high


OUTSIDE_GUIDE = Guide(
    "The host with one of these parts taken from the donor.",
    "Where embeddings and head are one matrix, swapping only one is a state that training never saw.",
)


def table(results: Mapping[Part, Result]) -> list[dict[str, str]]:
    """One row per part that is no block's, every number with its 95 % interval."""
    return [
        {
            "part": PARTS[part],
            "balanced accuracy": _with_interval(result, "balanced_accuracy", 1) + " %",
            "AUC": _with_interval(result, "auc", 3),
            "gap (logits)": _with_interval(result, "gap", 2),
            "fraction recovered": _with_interval(result, "fraction_recovered", 2),
        }
        for part, result in results.items()
    ]


def _with_interval(result: Result, measure: Measure, digits: int) -> str:
    value, low, high = (float(one[0]) for one in values(result, measure))
    if np.isnan(value):
        return "undefined"
    value, low, high = (round(end, digits) + 0.0 for end in (value, low, high))  # no minus before a zero
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def strongest(results: Mapping[Part, Result], host: str, donor: str, back: bool) -> str:
    """Describe the single swap that moves the gap most, with its interval and its accuracy.

    `back` says that the donor is the earlier checkpoint: the swap takes out what training put in.
    """
    first = next(iter(results.values()))
    if np.isnan(first.levels[1]).all():
        return f"{donor} has no head of its own, so there is no gap to compare with."
    shares: dict[Part, np.ndarray] = {part: result.fraction_recovered.value for part, result in results.items()}
    if all(np.isnan(share).all() for share in shares.values()):
        return f"The gaps of {host} and {donor} do not differ beyond chance, so there is no share to compute."
    known: list[Part] = [part for part in shares if not np.isnan(shares[part]).all()]
    part: Part = max(known, key=lambda one: float(np.nanmax(shares[one])))
    result, at = results[part], int(np.nanargmax(shares[part]))
    low, high = float(result.fraction_recovered.low[at]), float(result.fraction_recovered.high[at])
    what = f"{_TAKEN[part]} {result.last[at]}" if part in _TAKEN else f"the {PARTS[part]}"
    share = f"**{100 * shares[part][at]:.0f} %** of the gap ({100 * low:.0f} to {100 * high:.0f})"
    did = (
        f"Putting **{what}** back to {donor} undoes"
        if back
        else f"**{what[0].upper()}{what[1:]}** of {donor} alone adds"
    )
    before, after = levels(result, "balanced_accuracy")[0], 100 * float(result.balanced_accuracy.value[at])
    sure = "" if low > 0 else " The interval contains 0, so this part may lead by chance."
    return f"{did} {share}. Balanced accuracy goes from {before:.1f} to {after:.1f} %.{sure}"
