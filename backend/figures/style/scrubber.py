"""Panels of points that move between checkpoints in the browser: their data, and a page that opens without a server.

`scrubber.js` draws them, on the Layers page and in the report. It gets the positions of all checkpoints at once, as
16-bit integers, so that dragging the epoch asks the server for nothing.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.figures.style import theme
from backend.figures.style.html import unclosing

FULL, MISSING = 32767, -32768
"""The integers of the edge of a panel and of an undefined position."""
SCRIPT = Path(__file__).with_name("scrubber.js").read_text(encoding="utf-8")
STYLE = Path(__file__).with_name("scrubber.css").read_text(encoding="utf-8")
BODY = '<div class="scrubber"></div>'
PAGE = """
:root { color-scheme: light dark; --ink: #1b2330; --ground: #fff; --panel: #f3f4f7; --line: #d5d9e0; --link: #5546ab; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --ground: #12151b; --panel: #1e232c; --line: #363e4b;
  --link: #9488ee; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1180px;
  margin: 2em auto; padding: 0 1em; }
"""
MOUNT = """
document.querySelectorAll('.scrubbed').forEach(place => {
  const inside = place.attachShadow({mode: 'open'}), style = document.createElement('style');
  style.textContent = document.getElementById('scrubber-style').textContent;
  const root = document.createElement('div');
  root.className = 'scrubber';
  inside.append(style, root);
  const mount = () => mountScrubber({data, parentElement: inside});
  const data = JSON.parse(place.querySelector('script').textContent);
  mount();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', mount);
  window.addEventListener('beforeprint', () => root.picture.layout(true));
});
"""
"""Mounts every scrubber of a page in a shadow root, as Streamlit does."""


def scaled(
    xy: Float[np.ndarray, "checkpoints layers reviews 2"],
) -> tuple[Float[np.ndarray, "layers 2"], Float[np.ndarray, " layers"]]:
    """Return the centre and half the width of each layer's panel, the same for all checkpoints, NaN without points.

    So a distance in the panel of a layer means the same for every checkpoint, and movement can be seen.
    """
    there = np.isfinite(xy).all(axis=(2, 3), keepdims=True)
    low = np.where(there, xy, np.inf).min(axis=(0, 2))
    high = np.where(there, xy, -np.inf).max(axis=(0, 2))
    some = np.isfinite(low).all(axis=1)
    low, high = (np.where(some[:, None], edge, np.nan) for edge in (low, high))
    half = (high - low).max(axis=1) / 2
    return (low + high) / 2, np.where(half > 0, half, np.where(some, 1.0, np.nan))


def quantized(
    places: Float[np.ndarray, "checkpoints layers *points 2"],
    centre: Float[np.ndarray, "layers 2"],
    half: Float[np.ndarray, " layers"],
) -> np.ndarray:
    """Return positions as int16, to within half a step of `half / 32767`; undefined ones as -32768."""
    more = places.ndim - 3
    middle = centre.reshape(len(centre), *[1] * more, 2)
    steps = np.rint((places - middle) / half.reshape(-1, *[1] * (more + 1)) * FULL)
    return np.where(np.isfinite(steps), np.clip(steps, -FULL, FULL), MISSING).astype("<i2")


def text(numbers: np.ndarray) -> str:
    """Return integers as base64, lowest byte first."""
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode("ascii")


def begins(review: str) -> str:
    """Return the beginning of a review on one line, as plain text."""
    words = " ".join(review.split())
    return words if len(words) <= theme.HOVER_LENGTH else words[: theme.HOVER_LENGTH - 1].rstrip() + "…"


def classes(words: Sequence[str]) -> list[dict[str, str]]:
    """Return word, colour and marker shape of every class."""
    return [
        {
            "word": word,
            "colour": theme.class_colour(c, len(words)),
            "symbol": theme.SYMBOLS[c % len(theme.SYMBOLS)],
        }
        for c, word in enumerate(words)
    ]


MOST_STEPS = 12
"""Different values up to which each has a colour of its own; more are put into steps of equal width."""
STEPS = 9


def value_classes(values: Sequence[float]) -> tuple[list[dict[str, str]], np.ndarray]:
    """Return the steps of an ordered label as classes, and the step of each value."""
    x = np.asarray(values, dtype=np.float64)
    distinct = np.unique(x)
    low, high = float(distinct[0]), float(distinct[-1])
    if len(distinct) <= MOST_STEPS:
        at, middles = np.searchsorted(distinct, x), distinct
        words = [f"{value:g}" for value in distinct]
    else:
        edges = np.linspace(low, high, STEPS + 1)
        at, middles = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, STEPS - 1), (edges[1:] + edges[:-1]) / 2
        words = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges.tolist())]
    shares = (middles - low) / max(high - low, 1e-300)
    colours = [theme.value_colour(share) for share in shares.tolist()]
    steps = [{"word": w, "colour": c, "symbol": "circle"} for w, c in zip(words, colours, strict=True)]
    return steps, at.astype(np.int64)


def shape(*parts: Any) -> int:
    """Return a checksum of what the elements of the picture depend on: while it stays, only points change."""
    return zlib.crc32(json.dumps(parts).encode())


def embedded(data: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    """Return the element that `MOUNT` fills; `view` names the `epoch` and the `reference` to begin with."""
    inside = unclosing(json.dumps({**data, "view": view}, separators=(",", ":")))
    return f'<div class="scrubbed"><script type="application/json">{inside}</script></div>'


def style() -> str:
    """Return the style element that the scrubbers of a page share."""
    return f'<style id="scrubber-style" media="not all">{STYLE}</style>'


def script() -> str:
    """Return the program of a page with scrubbers, to stand once in a script element, at its end."""
    return f"(() => {{\n{SCRIPT.replace('export default ', '')}\n{MOUNT}\n}})();"


def standalone(data: Mapping[str, Any], view: Mapping[str, Any], title: str, guide: str) -> str:
    """Return a page of HTML that opens without a network, in which the epoch can be dragged."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{PAGE}</style>'
    parts = [f"<h1>{escape(title)}</h1>", style(), embedded(data, view), f"<p>{escape(guide)}</p>"]
    body = "\n".join([*parts, f"<script>{script()}</script>"])
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'
