"""Mount the scrubber: points that move in the browser, which reports the epoch when the slider is released.

The points are one element, what is chosen another: so the points are sent once, and not with every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

from backend.figures.style import scrubber
from pages.frame import address
from pages.frame.shell import View

CHOSEN = """
export default function({ data }) {
    (window.layershiftViews ??= {})[data.key] = data;
    window.dispatchEvent(new CustomEvent("layershift:view", { detail: data }));
}
"""
"""Passes on what is chosen to the scrubber of that key, which may come before or after."""


@cache
def _points() -> Any:
    return v2.component("layershift_scrubber", html=scrubber.BODY, css=scrubber.STYLE, js=scrubber.SCRIPT)


@cache
def _chosen() -> Any:
    return v2.component("layershift_chosen", js=CHOSEN)


def mount(
    view: View, data: Mapping[str, Any], chosen: int | None, layer: int, file: str, picks: Callable[[int], None]
) -> None:
    """Show the points of `data`; a released epoch is written to the address, a clicked review goes to `picks`.

    `chosen` is the position of the review to ring, `layer` the layer to frame, `file` the name of a saved picture.
    """
    key = data["key"]
    name = f"scrubber-{key}"

    def released() -> None:
        label = st.session_state[name].get("epoch")
        if label in view.choices["epoch"].options:
            st.query_params["epoch"] = label

    def picked() -> None:
        position = st.session_state[name].get("review")
        if isinstance(position, int):
            picks(position)

    with st.container(key=f"chosen-{key}"):
        _chosen()(
            key=f"chosen-of-{key}",
            data={
                "key": key,
                "epoch": view.checkpoint.label,
                "reference": view.reference.label,
                "review": chosen,
                "layer": layer,
                "file": file,
                "title": f"{view.study.study.title}: {view.both}",
            },
        )
    _points()(key=name, data=data, on_epoch_change=released, on_review_change=picked)


def follow(view: View) -> None:
    """Run the whole page again if a section ran because the epoch was released."""
    if address.value("epoch", view.choices["epoch"]) != view.checkpoint.label:
        st.rerun()
