"""Fields of a form that are filled in by what was found; what the user typed stays."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import streamlit as st

T = TypeVar("T")


def begin(key: str, value: Any) -> None:
    """Start a widget that is about to be made with this value."""
    st.session_state.setdefault(key, value)


def current(key: str) -> Any:
    """What a widget further down held when the page ran last; None before that."""
    return st.session_state.get(key)


def typed(key: str) -> str:
    """What the user typed into a field, empty where it was filled in."""
    held = st.session_state.get(key) or ""
    return "" if held == _filled().get(key) else str(held)


def fill(key: str, value: Any, start: Any = "") -> None:
    """Fill in a field that is about to be made, unless the user changed it; `start` is what it began with."""
    if st.session_state.get(key) in (None, "", start, _filled().get(key)):
        st.session_state[key] = _filled()[key] = value


def once(name: str, about: Hashable, find: Callable[[], T]) -> tuple[T, bool]:
    """What `find` returned for this session, asked again when `about` changes; whether it was asked just now."""
    known = st.session_state.setdefault("_found", {})
    asked = name not in known or known[name][0] != about
    if asked:
        known[name] = (about, find())
    return known[name][1], asked


def _filled() -> dict[str, Any]:
    return st.session_state.setdefault("_filled", {})
