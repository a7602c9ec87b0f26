"""Have curves and heat maps follow an epoch while it is dragged: the server gets only the release."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

from backend.figures.style import following


@cache
def _component() -> Any:
    return v2.component("layershift_following", js=following.SCRIPT)


def mount(key: str, names: list[str]) -> None:
    """Watch the slider of that key, whose options are `names`."""
    with st.container(key="chosen-following"):  # only a program
        _component()(key="following", data={"key": key, "names": names})
