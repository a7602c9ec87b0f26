"""What all figures share: one palette, marker shapes, layouts that take their background from the theme around them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

NEGATIVE, POSITIVE, DIRECTION = "#cf6a10", "#2f7fd3", "#2f9e5f"
WORSE, BETTER = "#b04a5a", "#0e8a7d"
"""Of measures that have a good side, such as accuracy, recovery and shared features; never of classes."""
OPPOSED = "#a8509f"
"""A cosine of -1; DIRECTION is one of 1."""
MANY = ("#0072b2", "#bf7600", "#c4699a", "#2c90cc", "#d55e00", "#009669", "#948800", "#868686")
"""Okabe and Ito's colour-blind-safe colours, as light as still reads on white, as dark as reads on a dark page."""
VALUES = ("#123f8c", "#8b8a86", "#e0b100")
"""Low, middle and high values of an ordered label, told apart with any colour vision by their lightness."""
RING = "#c2185b"
"""What is pointed out: the chosen review, the layer at which something begins."""
POINTS = 0.9
"""Opacity of the points of a cloud."""
SYMBOLS = ("diamond", "circle", "square", "triangle-up", "cross", "star", "x", "triangle-down")
QUIET = "#7d8593"
FAINT = "rgba(128,136,150,0.28)"
SEQUENTIAL = [[0.0, "rgba(47,158,95,0.04)"], [1.0, "#2f9e5f"]]
"""Darker on a white page, lighter on a dark one, the larger the value."""
Scale = list[list[Any]]


def _diverging(low: str, high: str) -> Scale:
    return [[0.0, low], [0.5, "rgba(150,156,168,0.12)"], [1.0, high]]


DIVERGING = _diverging(NEGATIVE, POSITIVE)
"""From class 0 to class 1."""
QUALITY = _diverging(WORSE, BETTER)
COSINE = _diverging(OPPOSED, DIRECTION)
PAGES = (("#ffffff", "#10151f"), ("#12151b", "#e7eaf0"))
"""Ground and ink of the light and the dark page, as in .streamlit/config.toml."""
HOVER_LENGTH = 100
PLOT_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["zoom2d", "pan2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2, "filename": "layershift"},
}
"""What `st.plotly_chart` takes as config: the camera makes a PNG, of twice the pixels, as the theme shows it."""


def plot_config(filename: str) -> dict[str, Any]:
    """PLOT_CONFIG whose camera names the picture."""
    return PLOT_CONFIG | {"toImageButtonOptions": PLOT_CONFIG["toImageButtonOptions"] | {"filename": filename}}


def class_colour(c: int, classes: int) -> str:
    """Two classes: orange is negative (0), blue positive (1); more classes: the colour-blind-safe sequence."""
    return (NEGATIVE, POSITIVE)[c] if classes == 2 else MANY[c % len(MANY)]


def value_colour(share: float) -> str:
    """Return the colour of a value of an ordered label, from dark blue (0) over grey to yellow (1), as #rrggbb."""
    place = min(max(share, 0.0), 1.0) * (len(VALUES) - 1)
    left = min(int(place), len(VALUES) - 2)
    low, high = (tuple(int(VALUES[i][c : c + 2], 16) for c in (1, 3, 5)) for i in (left, left + 1))
    return "#" + "".join(f"{round(a + (place - left) * (b - a)):02x}" for a, b in zip(low, high, strict=True))


def direction_colour(d: int, directions: int) -> str:
    """The one direction of two classes is green; more have the colour of their class."""
    return DIRECTION if directions == 1 else MANY[d % len(MANY)]


def checkpoint_colour(position: int, count: int) -> str:
    """The base is grey; checkpoints go from light to strong violet in their order, whichever is the reference."""
    if position == 0:
        return "#8a93a3"
    share = 0.0 if count <= 2 else (position - 1) / (count - 2)
    start, end = (151, 129, 230), (114, 76, 206)
    return "rgb({},{},{})".format(*(round(a + share * (b - a)) for a, b in zip(start, end, strict=True)))


PAIR = (checkpoint_colour(2, 3), MANY[6])
"""Of two curves that are neither classes nor checkpoints."""
ENDS = _diverging(PAIR[1], PAIR[0])
"""From the host of a swap to its donor."""


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on the colour (its luminance against that of middle grey)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return "#10131a" if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.18 else "#ffffff"


def ink_in(colours: Scale, share: float) -> str | None:
    """Return the ink that reads on the colour at a share of a scale, None for the page's own on a faint one.

    It reads best on the worse of the light and the dark page, which shine through.
    """
    *colour, opacity = mixed(colours, share)

    def worst(ink: str | None) -> float:
        found = []
        for ground, own in PAGES:
            below = _parts(ground)[:3]
            cell = [opacity * one + (1 - opacity) * under for one, under in zip(colour, below, strict=True)]
            found.append(_contrast(ink or own, cell))
        return min(found)

    return max((None, "#10131a", "#ffffff"), key=worst)


def _contrast(ink: str, cell: Sequence[float]) -> float:
    """Return the contrast of WCAG 2.2, 1..21."""
    low, high = sorted(
        sum(share * (part / 255) ** 2.2 for share, part in zip((0.2126, 0.7152, 0.0722), colour, strict=False))
        for colour in (_parts(ink), cell)
    )
    return (high + 0.05) / (low + 0.05)


def mixed(colours: Scale, share: float) -> list[float]:
    """Return the colour at a share of a scale: red, green and blue, 0..255, and the opacity, 0..1."""
    at = max(i for i, (place, _) in enumerate(colours) if place <= share)
    (low, first), (high, second) = colours[at], colours[min(at + 1, len(colours) - 1)]
    part = (share - low) / (high - low) if high > low else 0.0
    return [(1 - part) * one + part * other for one, other in zip(_parts(first), _parts(second), strict=True)]


def _parts(colour: str) -> list[float]:
    """Red, green and blue, 0..255, and the opacity, 0..1."""
    if colour.startswith("#"):
        return [*(float(int(colour[i : i + 2], 16)) for i in (1, 3, 5)), 1.0]
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")]
    return parts if len(parts) == 4 else [*parts, 1.0]


def veil(colour: str, alpha: float) -> str:
    """`colour` (hex or rgb()) made see-through."""
    if colour.startswith("#"):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    else:
        red, green, blue = (int(part) for part in colour[4:-1].split(","))
    return f"rgba({red},{green},{blue},{alpha})"


def literal(text: str) -> str:
    """Escape a user's words for plotly, which reads some signs as HTML and `%{` as a placeholder.

    Plotly writes `&quot;` as it stands, so quotes stay.
    """
    return " ".join(escape(text, quote=False).split("\n")).replace("%{", "%&#123;")


def literals(texts: Sequence[str]) -> list[str]:
    """`literal` of each."""
    return [literal(one) for one in texts]


def shorten(text: str, width: int = 58) -> str:
    """The beginning of a review for hovering, on two lines, safe to stand in plotly's HTML."""
    words = " ".join(text.split())
    if len(words) > HOVER_LENGTH:
        words = words[: HOVER_LENGTH - 1].rstrip() + "…"
    if len(words) > width and " " in words[:width]:
        cut = words.rindex(" ", 0, width)
        words = words[:cut] + "\n" + words[cut + 1 :]
    return "<br>".join(map(literal, words.split("\n")))


def cells(values: np.ndarray) -> list[list[float | None]]:
    """A matrix for a heat map, undefined cells empty."""
    return [[None if np.isnan(v) else round(float(v), 4) for v in row] for row in values]


def figure(traces: Iterable[Mapping[str, Any]], title: str, height: int, **layout: Any) -> go.Figure:
    """A figure from plain dictionaries, which plotly checks once and at once (much faster than trace by trace)."""
    shared: dict[str, Any] = {
        "title": {"text": title, "font": {"size": 14}, "x": 0, "xanchor": "left", "y": 0.99, "yanchor": "top"},
        "height": height,
        "margin": {"l": 48, "r": 12, "t": 56, "b": 44},
        "hovermode": "closest",
        "dragmode": "pan",
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"},
        "hoverlabel": {"align": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)"},
    }
    data = [{**one, "showlegend": False} if _draws_nothing(one) else one for one in traces]
    return go.Figure({"data": data, "layout": shared | {"datarevision": _revision(data)} | layout})


def _draws_nothing(trace: Mapping[str, Any]) -> bool:
    """Return whether a curve has no defined value: then the legend leaves it out. Entries of a legend have no place."""
    x, y = trace.get("x"), trace.get("y")
    if not (isinstance(y, np.ndarray) and y.dtype.kind == "f" and y.size) or (isinstance(x, list) and x == [None]):
        return False
    return bool(np.isnan(y).all())


def standalone(figures: Iterable[go.Figure], title: str, guide: str) -> str:
    """Figures as one HTML page that opens without a network: plotly.js stands in it once."""
    parts = [
        go.Figure(one).update_layout(template="plotly_white").to_html(full_html=False, include_plotlyjs=i == 0)
        for i, one in enumerate(figures)
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    style = "<style>body { font-family: sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }</style>"
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts, f"<p>{escape(guide)}</p>"])
    return f'<!doctype html>\n<html lang="en">\n<head>{head}{style}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _revision(value: Any, seed: int = 0) -> int:
    """A checksum of the data, by which plotly sees that there is nothing to draw again.

    Streamlit hands every figure to plotly twice, as copies.
    """
    if isinstance(value, np.ndarray):
        plain = (
            " ".join(map(str, value.flat)).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
        )
        return zlib.crc32(plain, seed)
    if isinstance(value, Mapping):
        value = [part for item in value.items() for part in item]
    if isinstance(value, list | tuple):
        for part in value:
            seed = _revision(part, seed)
        return seed
    return zlib.crc32(repr(value).encode(), seed)


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title, a faint grid and no zero line."""
    return {"title": {"text": title, "standoff": 14}, "gridcolor": FAINT, "zeroline": False, "automargin": True} | more


def layer_axis(layers: int, title: str = "layer", **more: Any) -> dict[str, Any]:
    """The axis of layers 0..L, with a tick at each layer while they fit."""
    ticks = {"tickmode": "linear", "tick0": 0, "dtick": 1 if layers <= 16 else 4, "range": [-0.4, layers - 0.6]}
    return axis(title, **(ticks | more))


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> list[dict[str, Any]]:
    """An interval as a shaded band between two invisible lines; undefined points are left out."""
    there = np.isfinite(low) & np.isfinite(high)
    if not there.any():
        return []
    around = np.concatenate([x[there], x[there][::-1]])
    edge = np.concatenate([high[there], low[there][::-1]])
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": around,
            "y": edge,
            "fill": "toself",
            "fillcolor": veil(colour, 0.18),
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
