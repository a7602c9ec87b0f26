"""Scroll to the picture that a link named, and mark it for a while."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

KEY = "mark"
"""The key in the address that names a picture; it says nothing about what is shown."""

SCROLL = """
export default function({ data }) {
    let left = 150;
    const timer = setInterval(() => {
        const place = document.querySelector(`.st-key-side-${CSS.escape(data.picture)}`);
        if (!place && --left > 0) return;
        clearInterval(timer);
        if (!place || window.layershiftMarked === data.visit) return;
        window.layershiftMarked = data.visit;
        const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
        place.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "center" });
        const frame = "0 0 0 3px #7a5cd6";
        place.animate([{ boxShadow: frame }, { boxShadow: frame, offset: 0.8 }, { boxShadow: "none" }], 4000);
    }, 200);
    return () => clearInterval(timer);
}
"""
"""Waits until the picture is there; a later rerun of the same visit does not scroll again."""


@cache
def _component() -> Any:
    return v2.component("layershift_marked", js=SCROLL)


def ask(picture: str) -> None:
    """Mark a picture of the page in view, at the end of this run."""
    st.session_state["_marked"] = {"picture": picture, "visit": _last()["visit"] + 1}


def show(path: str) -> None:
    """Scroll to the picture that was asked for, or that the address names since the page at this path was opened."""
    opened = (path, st.query_params.get(KEY, ""))
    before, st.session_state["_opened"] = st.session_state.get("_opened"), opened
    if before is not None and before[0] != path:
        ask("")
    if opened[1] and opened != before:
        ask(opened[1])
    if _last()["picture"]:
        _component()(key="marked", data=_last())


def _last() -> dict[str, Any]:
    """Return the picture to mark, and how many were asked for before."""
    return st.session_state.setdefault("_marked", {"picture": "", "visit": 0})
