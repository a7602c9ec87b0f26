"""Draw one feature: how strongly it fires in each model, and the texts in which it fires most."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from backend.analyses.features import SURE, Result
from backend.derived.feature_contexts import Contexts, InText
from backend.figures.style import drawing, text, theme, token_bands
from backend.figures.style.guide import Guide
from backend.stats.feature_rates import STATES

FAINTEST, HIGHLIGHT = 0.12, 0.6
"""Background opacity of the weakest and the strongest firing: text of both themes keeps a contrast of 4.5."""
BINS = 30
FIRST = 2
"""How many contexts stand above the fold."""


GUIDE = Guide(
    "How many tokens have each activation, and the tokens that the feature promotes.",
    "In early layers promoted tokens say little, because later blocks transform the feature's output.",
    "A feature with one meaning has many strong activations. "
    "Promoted tokens are those whose logits the direction raises most by itself.",
)


def histogram(
    contexts: Contexts, names: Sequence[str], positions: Sequence[int], count: int, feature: int
) -> go.Figure:
    """Draw how many tokens have each activation in each model, with a logarithmic count."""
    values = (contexts.reference, contexts.checkpoint)[: len(names)]
    largest = max((float(one.max()) for one in values if len(one)), default=1.0)
    edges, most = np.linspace(0.0, largest, BINS + 1), 1
    traces: list[dict[str, Any]] = []
    for one, name, position in zip(values, names, positions, strict=True):
        tokens, _ = np.histogram(one, edges)
        most = max(most, int(tokens.max()))
        traces.append(
            drawing.line(
                (edges[:-1] + edges[1:]) / 2,
                np.where(tokens > 0, tokens, np.nan),
                f"{theme.literal(name)} ({len(one):,} tokens)",
                drawing.stroke(theme.checkpoint_colour(position, count)) | {"shape": "hvh"},
                f"about %{{x:.3g}}: %{{y}} tokens<extra>{theme.literal(name)}</extra>",
                mode="lines",
            )
        )
    return theme.figure(
        traces,
        f"Feature {feature}: activations where it fires",
        height=340,
        xaxis=theme.axis("activation (residual units)", rangemode="tozero"),
        yaxis=theme.axis("tokens", type="log", dtick=1, range=[-0.2, max(1.0, float(np.log10(most)) + 0.2)]),
        **drawing.below(),
    )


TEXTS_GUIDE = Guide(
    "Where the feature fires most; darker tokens have larger activations.",
    "The strongest are the clearest, so check typical ones in the histogram.",
    "Each text is cut around its largest activation. "
    "Activations are in residual units. Point at a token to see both models.",
)


def texts(
    contexts: Contexts, model: int, names: Sequence[str], words: Sequence[str], labels: np.ndarray, index: np.ndarray
) -> str:
    """Return as HTML the contexts where a feature is largest in one model, each token coloured by its activation.

    `labels` are the classes of the sample's reviews, `index` their source rows, by which they are named everywhere.
    Pointing at a token shows its activation in every model. All contexts of all models share one scale.
    """
    requests = contexts.of(model)
    name = escape(names[model])
    title = f"Where it fires most in {name}" if requests else f"It fires nowhere in {name}"
    reach = max(1e-6, float(np.nanmax(contexts.value, initial=0.0)))
    parts = [f'<p style="margin:0 0 .6em"><strong>{title}</strong></p>']
    for place, i in enumerate(requests):
        if place == FIRST:
            parts.append(f'<details><summary style="cursor:pointer">{len(requests) - FIRST} more</summary>')
        review = int(contexts.review[i])
        heading = f"text {index[review]}, {escape(words[int(labels[review])])}"
        largest = int(contexts.position[i] - contexts.start[i])
        tokens = "".join(
            _token(contexts, i, t, model, names, reach, t == largest) for t in range(len(contexts.pieces[i]))
        )
        parts.append(f'<p style="{_PARAGRAPH}"><small style="opacity:.75">{heading}</small><br>{tokens}</p>')
    return "".join(parts) + ("</details>" if len(requests) > FIRST else "")


_PARAGRAPH = "margin:0 0 .7em;line-height:1.65;overflow-wrap:anywhere"


def _token(
    contexts: Contexts, context: int, token: int, model: int, names: Sequence[str], reach: float, largest: bool
) -> str:
    """Return a token as the reader sees it, with its space before it; the largest activation is in bold."""
    piece = contexts.pieces[context][token]
    space, said = " " if piece[:1].isspace() else "", text.shown(piece)
    share = float(contexts.value[context, model, token]) / reach
    if not share > 0:
        return space + said
    values = ", ".join(f"{contexts.value[context, m, token]:.3g} in {name}" for m, name in enumerate(names))
    style = f"background:{theme.veil(theme.DIRECTION, round(FAINTEST + (HIGHLIGHT - FAINTEST) * share, 3))}"
    style += ";border-radius:3px;padding:1px 0" + (";font-weight:600" if largest else "")
    return f'{space}<span style="{style}" title="{escape(values)}">{said}</span>'


def in_text_guide(layer: int) -> Guide:
    """Return the guide of `in_text`."""
    return Guide(
        "The activation of the feature at each token and layer, the last layer on top.",
        f"The autoencoder was trained on layer {layer}, so other layers may mislead it.",
        "The first token is left out, as it was during training.",
    )


def in_text(contexts: Sequence[InText], names: Sequence[str], pieces: Sequence[str], feature: int) -> go.Figure:
    """Draw a text with the feature's activation under each token, layer by layer, in each model, and the change."""
    named = [text.shown(piece, 24) for piece in pieces]
    values = [result.activation.astype(np.float64) for result in contexts]
    said = np.array([[f"{name}, layer {layer}" for layer in range(values[0].shape[1])] for name in named])
    bands = [token_bands.Band(name, one, said) for name, one in zip(names, values, strict=True)]
    top = max(1e-6, *(float(np.nanmax(one, initial=0.0)) for one in values))
    scales = {"coloraxis": token_bands.scale(0.0, top, "activation", 0.0, theme.SEQUENTIAL)}
    if len(values) > 1:
        change = values[1] - values[0]
        bands.append(token_bands.Band(f"{names[1]} − {names[0]}", change, said, "coloraxis2"))
        reach = token_bands.reach([change])
        scales["coloraxis2"] = token_bands.scale(-reach, reach, "difference", 0.5)
    title = f"Feature {feature} at every token and layer (its autoencoder's is layer {contexts[0].layer})"
    return token_bands.draw(pieces, bands, title, scales)


def promoted(result: Result, feature: int, names: Sequence[str]) -> go.Figure:
    """Draw the tokens that a feature promotes in each model, likeliest on top; those of one model alone are bold."""
    said = [result.promotes(m, feature) for m in range(len(names))]
    common = set.intersection(*map(set, said))
    traces = [
        drawing.words(
            [m] * len(tokens),
            list(range(len(tokens))),
            [text.shown(token) if token in common else f"<b>{text.shown(token)}</b>" for token in tokens],
            {"size": 13},
        )
        for m, tokens in enumerate(said)
    ]
    bold = " (bold: in one only)" if len(names) > 1 and len(common) < len(said[0]) else ""
    bare = {"showgrid": False, "zeroline": False, "fixedrange": True}
    return theme.figure(
        traces,
        f"Feature {feature}: tokens it promotes{bold}",
        height=340,
        xaxis=bare
        | {
            "range": [-0.5, len(names) - 0.5],
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": [text.shown(name) for name in names],
            "side": "top",
        },
        yaxis=bare | {"range": [len(said[0]) - 0.5, -0.5], "showticklabels": False},
        margin={"l": 8, "r": 8, "t": 70, "b": 8},
    )


def _apart(result: Result, m: int, at: int, feature: int) -> str:
    """Say how well a feature tells the classes apart in a model."""
    auc, q, cosine = (float(one[m, at, feature]) for one in (result.auc, result.q, result.cosine))
    chance = "beyond chance" if q <= SURE else "within chance"
    along = "undefined here" if np.isnan(cosine) else f"{cosine:+.2f}"
    return (
        f"AUC of a text's largest activation {auc:.3f} (q = {q:.2g}, {chance}). Cosine with the class direction "
        f"{along}."
    )


def about(result: Result, feature: int, names: Sequence[str], at: int) -> str:
    """Return the numbers of one feature as Markdown, a line for each model."""
    said = []
    for m, name in enumerate(names):
        rate = 100 * result.rate[m, feature]
        if rate == 0:
            said.append(f"- **{name}**: it never fires.")
            continue
        said.append(
            f"- **{name}**: it fires at {rate:.3g} % of the tokens (mean activation "
            f"{result.mean_when_firing[m, feature]:.3g})."
        )
        if result.separates:
            said[-1] += f" {_apart(result, m, at, feature)}"
    if len(names) > 1:
        low, high = 100 * result.change.low[feature], 100 * result.change.high[feature]
        said.append(
            f"- Change of the rate: {100 * result.change.value[feature]:+.3g} points ({low:+.3g} to {high:+.3g}): "
            f"{STATES[int(result.state[feature])]}."
        )
    return "\n".join(said)
