"""Figures that follow the epoch in the browser: what belongs to one epoch is named, so that `following.js` shows it.

A figure holds every epoch that it can show, with those not chosen hidden or faint. While an epoch is dragged,
`following.js` changes opacities in the picture that is drawn, to what the server draws after the release.
A figure of one epoch holds what differs at the others (`film`), and plotly draws it with that.
Labels are those of the study; in the figure they are escaped, as all words are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from backend.figures.style import theme

SCRIPT = Path(__file__).with_name("following.js").read_text(encoding="utf-8")
Ends = tuple[str, str]
"""The labels of the chosen checkpoint and of the reference; empty ones: all checkpoints are shown alike."""
NONE: Ends = ("", "")
MOST_BYTES = 300_000
"""Of what a figure holds of other epochs."""
FAINT = 0.3
"""Opacity of the curve of an epoch that is not chosen."""


def of_epoch(
    traces: Iterable[Mapping[str, Any]], epoch: str, chosen: str, otherwise: float = 0.0
) -> list[dict[str, Any]]:
    """Return traces that belong to an epoch: opaque if it is the `chosen` one, else of the opacity `otherwise`."""
    found = []
    for one in traces:
        speaks = otherwise == 0 and one.get("hoverinfo") != "skip"
        silent = {"hoverinfo": "skip"} if speaks and epoch != chosen else {}
        meta = {"epoch": theme.literal(epoch), "otherwise": otherwise, "speaks": speaks}
        found.append({**one, **silent, "opacity": 1.0 if epoch == chosen else otherwise, "meta": meta})
    return found


def curve(line: Sequence[Mapping[str, Any]], detail: Sequence[Mapping[str, Any]], epoch: str, ends: Ends) -> list[Any]:
    """Return the lines of an epoch, faint unless it is chosen, below them its details, hidden unless it is chosen.

    All of the reference is always shown, and of every epoch if none is chosen.
    """
    chosen, reference = ends
    if not chosen or epoch == reference:
        return [*detail, *line]
    return [*of_epoch(detail, epoch, chosen), *of_epoch(line, epoch, chosen, FAINT)]


def shapes(by_epoch: Mapping[str, Mapping[str, Any]], chosen: str) -> list[dict[str, Any]]:
    """Return a shape per epoch, of which the chosen one's is visible."""
    return [
        {**shape, "name": f"epoch: {theme.literal(epoch)}", "opacity": 1 if epoch == chosen else 0}
        for epoch, shape in by_epoch.items()
    ]


def layout(epochs: Sequence[str], titles: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what the layout of a figure says of the epochs that it can show, and of its title at each."""
    said = {theme.literal(epoch): theme.literal(title) for epoch, title in (titles or {}).items()}
    return {"meta": {"epochs": {"labels": theme.literals(epochs), **({"titles": said} if said else {})}}}


def film(by_epoch: Mapping[str, go.Figure], chosen: str) -> go.Figure:
    """Return the figure of the chosen epoch, which holds what differs in those of the other epochs.

    It stays as it is if nothing differs between epochs, or if that is more than MOST_BYTES.
    """
    drawn = by_epoch[chosen]
    plain = [json.loads(str(figure.to_json())) for figure in by_epoch.values()]
    first = plain[0]
    layout = _differing([one["layout"] for one in plain])
    if any(len(one["data"]) != len(first["data"]) for one in plain):
        frames: list[dict[str, Any]] = [{"whole": one["data"]} for one in plain]
    else:
        keys = [_differing([one["data"][i] for one in plain]) for i in range(len(first["data"]))]
        frames = [{"traces": [_part(*pair) for pair in zip(one["data"], keys, strict=True)]} for one in plain]
        if len(plain) > 1 and not layout and not any(keys):
            return drawn
    frames = [frame | {"layout": _part(one["layout"], layout)} for frame, one in zip(frames, plain, strict=True)]
    if len(json.dumps(frames)) <= MOST_BYTES:
        epochs = {"chosen": theme.literal(chosen), "filmed": theme.literals([*by_epoch]), "frames": frames}
        drawn.layout.meta = {"epochs": epochs}
    return drawn


def without_film(figure: go.Figure) -> go.Figure:
    """Return a copy of the figure that shows its epoch only."""
    return go.Figure(figure).update_layout(meta=None) if figure.layout.meta else figure


def _differing(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same in all of the parts."""
    keys = dict.fromkeys(key for part in parts for key in part)
    return [key for key in keys if any(part.get(key) != parts[0].get(key) for part in parts)]


def _part(whole: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: whole.get(key) for key in keys}


def script() -> str:
    """Return the program of a page that opens without a server, to stand once in a script element."""
    return f"(() => {{\n{SCRIPT.replace('export default ', '')}\nfollow();\n}})();"
