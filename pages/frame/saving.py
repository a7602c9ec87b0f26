"""Have the camera of a plot save a picture that names its study, above the title that the page shows."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

SAVE = """
const LINE = 20, PAD = 16;
const FONT = "sans-serif"; // fonts of the page are not at hand in a picture, where another one is wider
let study = "";

/* Stand in for plotly's own button, which saves the plot as it is. */
function save(event) {
    const button = event.target.closest?.('.modebar-btn[data-title="Download plot as a PNG"]');
    const plot = button?.closest(".js-plotly-plot");
    if (!plot || !window.Plotly) return;
    event.stopPropagation();
    const { title, margin, ...layout } = plot.layout, { clientWidth: width, clientHeight: high } = plot;
    const words = [study, title?.text].filter(Boolean).join("<br>"), height = high + LINE;
    const top = (margin?.t ?? 100) + LINE;
    const figure = { data: plot.data, config: plot._context, layout: {
        ...layout, font: { ...layout.font, family: FONT }, margin: { ...margin, t: top }, width, height,
        title: { ...title, text: words, y: 1, yref: "container", yanchor: "top", pad: { ...title?.pad, t: PAD },
                 font: { ...title?.font, family: FONT } } } };
    window.Plotly.downloadImage(figure, { ...plot._context.toImageButtonOptions, width, height });
}

export default function({ data }) {
    study = data.study;
    document.addEventListener("click", save, true);
    return () => document.removeEventListener("click", save, true);
}
"""
"""The words are escaped for plotly by the page."""


@cache
def _component() -> Any:
    return v2.component("layershift_saving", js=SAVE)


def mount(study: str) -> None:
    """Name the study, a title that is escaped for plotly, in every plot that is saved as PNG."""
    with st.container(key="chosen-saving"):  # only a program
        _component()(key="saving", data={"study": study})
