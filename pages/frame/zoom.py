"""Keep the zoom of a figure with a `uirevision` when the picture changes.

Streamlit puts a new plot in the place of one that changed, and plotly forgets. So the browser reports its zoom,
and the next picture of the same revision is drawn with those ranges.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

from pages.frame.links import LEAVING

WATCH = (
    LEAVING
    + """
export default function({ data, setStateValue }) {
    const listen = () => {
        const plot = document.querySelector(`.st-key-${data.key} .js-plotly-plot`);
        if (!plot || !plot.on || plot.listened) return;
        plot.listened = true;
        plot.on("plotly_relayout", () => {
            const { xaxis, yaxis } = plot.layout;
            const ranges = xaxis.autorange ? null : [...xaxis.range, ...yaxis.range];
            if (!leaving()) setStateValue("zoom", { revision: data.revision, ranges });
        });
    };
    const timer = setInterval(listen, 200);
    return () => clearInterval(timer);
}
"""
)
"""Subscribes to plotly's events on each new plot."""


@cache
def _component() -> Any:
    return v2.component("layershift_zoom", js=WATCH)


def apply(key: str, figure: Any) -> None:
    """Zoom the figure to where the last one of that key and revision was left."""
    said = _zooms().get(key, {})
    if said.get("revision") == figure.layout.uirevision and said.get("ranges"):
        left, right, bottom, top = said["ranges"]
        figure.update_xaxes(range=[left, right], autorange=False)
        figure.update_yaxes(range=[bottom, top], autorange=False)


@st.fragment
def watch(key: str, revision: str) -> None:
    """Store zooms into the plot of that key, in a fragment, so that nothing else is drawn again."""

    def heard() -> None:
        _zooms()[key] = st.session_state[name]["zoom"]

    name = f"zoom-{key}"
    _component()(key=name, data={"key": key, "revision": revision}, on_zoom_change=heard)


def _zooms() -> dict[str, Any]:
    """By picture; what Streamlit holds of a component goes with it while the next picture is computed."""
    return st.session_state.setdefault("_zooms", {})
