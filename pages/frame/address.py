"""Read, check and write the view in the browser's address.

The address is the truth: each run sets the widgets to it, and a widget that is moved writes it, as a new entry of the
browser's history, so that Back restores the view. (Streamlit's own `bind="query-params"` replaces the entry, and turns
an unknown value into the default without a word.) Only the files of the frame touch session_state.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState, get_script_run_ctx

from backend.study.typed_texts import without_surrogates
from backend.vocabulary.markdown import plain

MOST_TEXTS = 16
LONGEST = 200_000
"""Characters of a typed text; the server takes no more."""
FORMER_KEYS = {"coefficient": "dose"}
FORMER_VALUES = {
    "mean_lens": "mean_logit_diff",
    "lens": "logit_diff",
    "recovered": "fraction_recovered",
    "dose": "coefficient",
    "kinds": "roles",
    "tokens": "curves",
}
"""Names in permalinks of earlier versions, which still open."""
_STAND_IN = re.compile("long-[0-9a-f]{16}")


@dataclass(frozen=True)
class Choice:
    """A key of the address: its possible values, and its default."""

    options: Sequence[str]
    default: str


@dataclass(frozen=True)
class Text(Choice):
    """A key whose value is any text, empty if the address does not say.

    One of more than `most` characters stays in the browser session where it was typed, and the address has a stand-in
    for it, by which Back finds it again.
    """

    options: Sequence[str] = ()
    default: str = ""
    most: int = 2000


@dataclass(frozen=True)
class _Order:
    """How a widget was set: what it held before, what it was set to, its options, and the part of the page."""

    before: Any
    wanted: Any
    offered: tuple[str, ...]
    fragment: str | None


def value(key: str, choice: Choice) -> str:
    """Return the value in the address, or the default."""
    said = st.query_params.get(key, choice.default)
    if isinstance(choice, Text):
        return _long_texts().get(said, "") if _stands_in(said) else said[: choice.most]
    return said if said in choice.options else choice.default


def check(key: str, choice: Choice, why: str | None = None) -> str:
    """Return the value; remove an unknown one from the address and show a warning, with the reason `why`.

    The warning survives the reruns that new results cause: it goes when the user chooses a value for the key.
    """
    notes: dict[str, str] = st.session_state.setdefault("_notes", {})
    _rename_former(key, choice)
    said = st.query_params.get(key)
    if isinstance(choice, Text):
        return _check_text(key, choice, notes)
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
        st.warning(plain(notes[key]))
    return choice.default


def _rename_former(key: str, choice: Choice) -> None:
    """Rename a key or value of an earlier version in the address."""
    former = FORMER_KEYS.get(key, "")
    if former in st.query_params and key not in st.query_params:
        st.query_params[key] = st.query_params[former]
        del st.query_params[former]
    renamed = FORMER_VALUES.get(st.query_params.get(key, ""), "")
    if renamed and renamed in choice.options and st.query_params[key] not in choice.options:
        st.query_params[key] = renamed


def _check_text(key: str, choice: Text, notes: dict[str, str]) -> str:
    """Remove a text that is too long or of another session from the address, and show a warning."""
    said = st.query_params.get(key, "")
    lost = _stands_in(said) and said not in _long_texts()
    if lost or (len(said) > choice.most and not _stands_in(said)):
        del st.query_params[key]
        notes[key] = f"The address holds no {key} of more than {choice.most:,} characters. " + (
            "It stays in the browser tab where it was typed, until the tab is closed; paste it again."
            if lost
            else "This one is left out; paste it into its box."
        )
    elif said:
        notes.pop(key, None)
    if key in notes:
        st.warning(plain(notes[key]))
    return value(key, choice)


def _stands_in(said: str) -> bool:
    return _STAND_IN.fullmatch(said) is not None


def _long_texts() -> dict[str, str]:
    """Return the texts of this session that do not fit into an address, by their stand-in."""
    return st.session_state.setdefault("_texts", {})


def write_text(key: str, choice: Text, text: str) -> None:
    """Make `text` the value of the key; an empty one leaves the address."""
    said = said_of(text, choice)
    if said:
        st.query_params[key] = said
    elif key in st.query_params:
        del st.query_params[key]


def said_of(text: str, choice: Text) -> str:
    """Return the text, or for a long one a stand-in, by which this session finds it again."""
    text = without_surrogates(text)
    if len(text) <= choice.most and not _stands_in(text):
        return text
    held = _long_texts()
    stand_in = f"long-{secrets.token_hex(8)}"  # says nothing of the text
    held[stand_in] = text
    while len(held) > MOST_TEXTS:
        del held[next(iter(held))]
    return stand_in


def forget(key: str) -> None:
    """Remove a key from the address: its default counts again."""
    if key in st.query_params:
        del st.query_params[key]


def text_box(label: str, key: str, choice: Text, make: Callable[..., Any] = st.text_area, **more: Any) -> None:
    """Show a text area or input with the text of the address; leaving or entering it writes the address."""
    if not _set(key, value(key, choice)):
        more["value"] = value(key, choice)
    make(label, key=key, on_change=_typed, args=(key, choice), **more)
    if refusal := st.session_state.pop(f"_refused_{key}", None):
        st.warning(refusal)


def _typed(key: str, choice: Text) -> None:
    """Write what was typed into the address; a text that is too long is left out, with a sentence."""
    if not _chosen(key, value(key, choice)):
        return
    text = st.session_state[key]
    if len(text) > LONGEST:
        refusal = f"The text has {len(text):,} characters, and this server takes {LONGEST:,}; shorten it."
        st.session_state[f"_refused_{key}"] = refusal
        st.session_state[key] = value(key, choice)
    else:
        write_text(key, choice, text)


def widget(make: Callable[..., Any], label: str, key: str, choice: Choice, name: str = "", **more: Any) -> None:
    """Show a widget with the value of the address; moving it writes the address.

    A second widget of the same key has a `name` of its own.
    """
    name = name or key
    said = value(key, choice)
    if not _set(name, said, tuple(map(more.get("format_func", str), choice.options))) and said in choice.options:
        more |= _starting(make, choice, said)
    make(label, choice.options, key=name, on_change=_moved, args=(key, choice, name), **more)


def _starting(make: Callable[..., Any], choice: Choice, said: str) -> dict[str, Any]:
    """Return the keyword by which Streamlit lets a widget start at a value."""
    if make is st.selectbox:
        return {"index": choice.options.index(said)}
    return {"value" if make is st.select_slider else "default": said}


def _set(name: str, wanted: Any, offered: tuple[str, ...] = ()) -> bool:
    """Set a widget to the address, if it is not there yet, and return whether; `offered` are its options in a browser.

    A run that sets what is there already would undo in the browser what the user chose while it was under way. Such a
    run only says where the widget starts, for a browser that gets this run before it has drawn the one before.
    """
    held, last, fragment = st.session_state.get(name), _orders().get(name), ThreadState.get().fragment_id
    if held != wanted or last is None or last.offered != offered:
        st.session_state[name] = wanted
        _orders()[name] = _Order(held, wanted, offered, fragment)
        return True
    _orders()[name] = replace(last, fragment=fragment)
    return False


def _orders() -> dict[str, _Order]:
    """Return how each widget of this session was set, by its name."""
    return st.session_state.setdefault("_orders", {})


def _chosen(name: str, wanted: Any) -> bool:
    """Return whether the user moved the widget that reports a change, which the address now wants at `wanted`.

    A browser that has not heard yet what a widget was set to reports with the next event what it held before: with a
    step back in history, with a timer of another part of the page, or with another widget of the same key.
    """
    context, order = get_script_run_ctx(), _orders()[name]
    if context is not None:
        runs = context.fragment_ids_this_run
        if context.is_history_navigation or (runs and order.fragment not in runs):
            return False
    if order.before == st.session_state[name] and order.wanted != wanted:
        return False
    _orders()[name] = replace(order, before=None)
    return True


def _moved(key: str, choice: Choice, name: str) -> None:
    if st.session_state[name] is not None and _chosen(name, value(key, choice)):
        st.query_params[key] = st.session_state[name]


def switch(label: str, key: str, choice: Choice, **more: Any) -> None:
    """Show a toggle between the two options of a key; on is the second."""
    wanted = value(key, choice) == choice.options[1]
    if not _set(key, wanted):
        more["value"] = wanted
    st.toggle(label, key=key, on_change=_switched, args=(key, choice), **more)


def _switched(key: str, choice: Choice) -> None:
    off, on = choice.options
    if _chosen(key, value(key, choice) == on):
        st.query_params[key] = on if st.session_state[key] else off


def picked(chart: str, key: str, names: Sequence[str]) -> Callable[[], None]:
    """Return a callback for a plot's selection; customdata of the clicked point is a position among `names`."""

    def follow() -> None:
        points = st.session_state[chart].selection.points
        if points and "customdata" in points[0]:
            position = points[0]["customdata"]
            st.query_params[key] = names[int(position[0] if isinstance(position, list) else position)]

    return follow


def clicked_cell(chart: str) -> tuple[int, int] | None:
    """Return the row and the column of the clicked cell of a heat map."""
    points = st.session_state[chart].selection.points
    if not points:
        return None
    row, column = points[0]["customdata"]
    return int(row), int(column)


def chooses(key: str, names: Sequence[str]) -> Callable[[int], None]:
    """Return a callback for a choice in a component, which reports a position among `names`."""

    def follow(position: int) -> None:
        if 0 <= position < len(names):
            st.query_params[key] = names[position]

    return follow
