"""Tell when the browser has painted the first picture of a session: what stands further down would delay it.

Plots arrive faster than a browser can draw them, and it draws all that has arrived before it shows anything.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

from pages.frame import opening
from pages.frame.links import LEAVING

STATE = "_painted"
_FIRST, _WAITS = "_first_picture", "_waits"
PATIENCE_MS = 4000
"""How long a picture may take from when its page has arrived; nothing is waited for where a page has none yet."""

LOOK = (
    LEAVING
    + """
export default function({ data, setTriggerValue }) {
    const drawn = ".stMain [data-painted], .stMain .js-plotly-plot :is(.point, .hm image, .bars path)";
    const begun = performance.now();
    let timer;
    const told = () => performance.now() - (window.layershiftTold ?? -Infinity) < data.patience;
    const tell = () => {
        if (leaving()) return look();
        window.layershiftTold = performance.now();
        setTriggerValue("painted", true);
    };
    const look = () => {
        const shown = !data.picture || document.querySelector(`${drawn}, .stMain [data-testid=stProgress]`);
        if (leaving() || told() || (!shown && performance.now() - begun < data.patience)) timer = setTimeout(look, 50);
        else if (document.hidden) tell();
        else requestAnimationFrame(() => requestAnimationFrame(tell));
    };
    look();
    return () => clearTimeout(timer);
}
"""
)
"""Two animation frames after the marks of a plot are there, the browser has painted them.

Streamlit starts the component again once it has heard; telling it twice would interrupt the page's next run.
"""


@cache
def _component() -> Any:
    return v2.component("layershift_painted", js=LOOK)


def begin() -> None:
    """Begin a run of the whole page: the first picture that it shows goes first."""
    st.session_state.pop(_FIRST, None)
    st.session_state[_WAITS] = False


def already() -> bool:
    """Return whether the first picture has been painted; if not, the page runs again when it has."""
    if not st.session_state.setdefault(STATE, False):
        st.session_state[_WAITS] = True
    return bool(st.session_state[STATE])


def has_turn(key: str) -> bool:
    """Return whether the picture of that key may be drawn: it is the first of the page, or the first is painted."""
    return st.session_state.setdefault(_FIRST, key) == key or already()


def mount() -> None:
    """Watch for the first picture if the page waits for it."""
    if st.session_state[_WAITS]:
        with st.container(key="chosen-painted"):  # only a program
            data = {"patience": PATIENCE_MS, "picture": _FIRST in st.session_state}
            _component()(key="painted", data=data, on_painted_change=_heard)


def _heard() -> None:
    st.session_state[STATE] = True
    opening.seen()
