"""Figures that follow the epoch in the browser: what belongs to one epoch is named, so that `following.js` shows it.

A figure holds every epoch that it can show, with those not chosen hidden or faint. While an epoch is dragged,
`following.js` changes opacities in the picture that is drawn, to what the server draws after the release.
Labels are those of the study; in the figure they are escaped, as all words are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.figures.style import theme

SCRIPT = Path(__file__).with_name("following.js").read_text(encoding="utf-8")
Ends = tuple[str, str]
"""The labels of the chosen checkpoint and of the reference; empty ones: all checkpoints are shown alike."""
NONE: Ends = ("", "")
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


def script() -> str:
    """Return the program of a page that opens without a server, to stand once in a script element."""
    return f"(() => {{\n{SCRIPT.replace('export default ', '')}\nfollow();\n}})();"
