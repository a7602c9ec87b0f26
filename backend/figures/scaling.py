"""Draw what scaling the change does: curves over alpha for one part, heat maps over blocks, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import plotly.graph_objects as go

from backend.analyses.scaling import Query, Result
from backend.figures.style import drawing, theme
from backend.figures.style.guide import Guide
from backend.stats.estimate import Estimate

PARTS = {
    "all": "All weights",
    "block": "One block",
    "attn": "One attention",
    "mlp": "One MLP",
    "embed": "Embeddings",
    "final_norm": "Final norm",
    "head": "Head",
}
NAMES = {
    "balanced_accuracy": "balanced accuracy (%)",
    "gap": "gap (nats)",
    "perplexity": "perplexity, neutral texts",
    "kl": "KL from the reference (nats)",
}
_SCALE = {"balanced_accuracy": 100.0}
_LOGARITHMIC = {"perplexity"}

GUIDE = Guide(
    "The reference plus alpha times its change: alpha 0 is the reference, alpha 1 the checkpoint.",
    "Beyond 0 and 1 no training went; a bend there says little about training.",
    "Bands are 95 % intervals over texts. "
    "Where the change acts linearly, answers and price in KL rise steadily from 0 to 1.",
)
BLOCKS_GUIDE = Guide(
    "The reference with the change of one block alone, scaled by alpha.",
    "Blocks act together: a block that does nothing alone can matter beside others.",
    "alpha 1 puts the checkpoint's block into the reference, as on the Swaps page.",
)


def shown(result: Result) -> list[str]:
    """Return the measures that are defined."""
    return [name for name in NAMES if np.isfinite(getattr(result, name).value).any()]


def _estimate(result: Result, measure: str) -> Estimate[np.ndarray]:
    return getattr(result, measure).map(lambda end: _SCALE.get(measure, 1.0) * end)


def curve(result: Result, query: Query, measure: str, colour: str) -> go.Figure:
    """Draw a measure over alpha for a part that the model has once."""
    estimate, alphas = _estimate(result, measure), np.array(query.alphas)
    triple, name = [end[0] for end in estimate.ends], theme.literal(query.checkpoint.label)
    hover = "alpha %{x}: %{y:.3g}" + drawing.LIMITS
    scale: dict[str, Any] = {"type": "log"} if measure in _LOGARITHMIC else {}
    return theme.figure(
        drawing.banded(alphas, triple, name, drawing.stroke(colour), hover, showlegend=False),
        f"{PARTS[query.part]}: {NAMES[measure]}",
        height=300,
        shapes=[drawing.upright(alpha, dash="dot") for alpha in (0, 1)],
        xaxis=theme.axis(_road(query), tickvals=alphas.tolist()),
        yaxis=theme.axis(NAMES[measure], **scale),
    )


def _road(query: Query) -> str:
    names = theme.literals([query.reference.label, query.checkpoint.label])
    return f"alpha (0: {names[0]}, 1: {names[1]})"


def blocks(result: Result, query: Query, measure: str) -> go.Figure:
    """Draw a measure over blocks and alpha, for a part that every block has."""
    values = _estimate(result, measure).value
    drawn = np.log10(values) if measure in _LOGARITHMIC else values
    alphas = [f"{alpha:g}" for alpha in query.alphas]
    hover = "block %{x}, alpha %{y}: %{customdata:.3g}<extra></extra>"
    return theme.figure(
        [
            drawing.heatmap(
                drawn.T,
                np.arange(len(values)),
                alphas,
                hover,
                theme.SEQUENTIAL,
                customdata=values.T.astype(np.float32),
                colorbar=drawing.bar(len=1),
            )
        ],
        f"{PARTS[query.part]}: {NAMES[measure]}{', log10' if measure in _LOGARITHMIC else ''}",
        height=330,
        xaxis=theme.layer_axis(len(values), "block", showgrid=False),
        yaxis={"title": {"text": "alpha"}, "type": "category", "showgrid": False, "automargin": True},
    )


def in_words(result: Result, query: Query, name: str) -> str:
    """Return the answer in words, for all weights: what half and twice the change do."""
    at = {alpha: a for a, alpha in enumerate(query.alphas)}
    measure = "gap" if np.isfinite(result.gap.value).any() else "kl"
    half, whole, twice = (float(getattr(result, measure).value[0, at[alpha]]) for alpha in (0.5, 1.0, 2.0))
    unit = "gap between the classes" if measure == "gap" else "KL from the reference"
    said = f"Half of the change gives a {unit} of {half:.3g} nats, all of it (**{name}**) {whole:.3g}"
    said += f", and twice the change {twice:.3g}."
    if measure == "gap" and np.isfinite(result.perplexity.value).all():
        before, after, more = (float(result.perplexity.value[0, at[alpha]]) for alpha in (0.0, 1.0, 2.0))
        said += f" Perplexity on neutral texts goes from {before:.4g} to {after:.4g}, and to {more:.4g} at twice."
    return said


WRITTEN_GUIDE = Guide(
    "What each model writes after the beginning, greedily and sampled, at the chosen alpha.",
    "A large alpha of either sign ends in repetition.",
    "Weights: the reference plus alpha times the change. Logits: the checkpoint's plus alpha times its difference from "
    "the reference, at every token.",
)


@runtime_checkable
class _Text(Protocol):
    @property
    def text(self) -> str: ...


@runtime_checkable
class _Asked(Protocol):
    @property
    def temperature(self) -> float | None: ...
    @property
    def seed(self) -> int: ...


def written(results: Sequence[_Text], queries: Sequence[_Asked], names: Sequence[str]) -> list[dict[str, str]]:
    """Return a row per model, with its greedy and its sampled text."""
    rows: dict[str, dict[str, str]] = {}
    for result, query, name in zip(results, queries, names, strict=True):
        row = rows.setdefault(name, {"model": name})
        way = "greedy" if query.temperature is None else f"drawn at {query.temperature:g}, seed {query.seed}"
        row[way] = " ".join(result.text.split()) or "(the text ends here)"
    return list(rows.values())
