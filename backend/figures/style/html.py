"""Figures inside a page of HTML that brings plotly.js along."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


def plotly_js() -> str:
    """The source of plotly.js, to stand once in a script element."""
    return get_plotlyjs()


def embedded(figure: go.Figure) -> str:
    """The figure as JSON that may stand inside a script element: without a template, and without any `<`."""
    plain: dict[str, Any] = json.loads(str(go.Figure(figure).update_layout(template={}).to_json()))
    return unclosing(json.dumps({"data": plain["data"], "layout": plain["layout"]}, separators=(",", ":")))


def unclosing(text: str) -> str:
    """Return JSON that may stand inside a script element: without any `<`, which could close it."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
