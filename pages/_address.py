"""The view in the browser's address: read and checked before any widget is made, written when one is moved.

The address is the truth: each run sets the widgets to it, and a widget that is moved writes it, as a new entry of the
browser's history, so that Back restores the view. (Streamlit's own `bind="query-params"` replaces the entry, and turns
an unknown value into the default without a word.) Only the files of the frame touch session_state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st


@dataclass(frozen=True)
class Choice:
    """A key of the address: the values that it may have, the one it has when the address does not say."""

    options: Sequence[str]
    default: str


def value(key: str, choice: Choice) -> str:
    """What the address says, or the default."""
    said = st.query_params.get(key, choice.default)
    return said if said in choice.options else choice.default


def check(key: str, choice: Choice, why: str | None = None) -> str:
    """`value`; an unknown one leaves the address, and a sentence stays, with the reason `why` if there is one.

    The sentence outlives the reruns that landing results cause: it goes when the key is chosen anew.
    """
    notes: dict[str, str] = st.session_state.setdefault("_notes", {})
    said = st.query_params.get(key)
    if said is not None and said in choice.options:
        notes.pop(key, None)
        return said
    if said is not None:
        del st.query_params[key]
        options = [option for option in choice.options if option]
        some = ", ".join(options[:6]) + (", …" if len(options) > 6 else "")
        instead = f"showing {choice.default} instead" if choice.default else "it is left out"
        notes[key] = f"The address asks for {key} “{said}”: {why or f'there is {some}'}; {instead}."
    if key in notes:
        st.warning(notes[key])
    return choice.default


def widget(make: Callable[..., Any], label: str, key: str, choice: Choice, **more: Any) -> None:
    """A widget that shows the address's value of the key, and writes it when it is moved."""
    st.session_state[key] = value(key, choice)
    make(label, choice.options, key=key, on_change=_moved, args=(key,), **more)


def _moved(key: str) -> None:
    if st.session_state[key] is not None:
        st.query_params[key] = st.session_state[key]


def switch(label: str, key: str, choice: Choice, **more: Any) -> None:
    """A toggle between the two options of a key; on is the second."""
    off, on = choice.options
    st.session_state[key] = value(key, choice) == on
    st.toggle(label, key=key, on_change=_switched, args=(key, off, on), **more)


def _switched(key: str, off: str, on: str) -> None:
    st.query_params[key] = on if st.session_state[key] else off


def picked(chart: str, key: str, names: Sequence[str]) -> Callable[[], None]:
    """A callback for a plot's selection: the clicked point's customdata is a position among `names`."""

    def follow() -> None:
        points = st.session_state[chart].selection.points
        if points and "customdata" in points[0]:
            position = points[0]["customdata"]
            st.query_params[key] = names[int(position[0] if isinstance(position, list) else position)]

    return follow


if __name__ == "__main__":  # a fresh server takes every file here for a page, until the application has run once
    import app

    app.main()
