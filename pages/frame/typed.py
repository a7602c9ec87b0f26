"""Check what is typed into a form before anything is read: its length, and paths outside the open folders."""

from __future__ import annotations

import streamlit as st

from backend import wiring
from backend.errors import StudyError
from backend.study.paths import confine
from backend.vocabulary.markdown import plain

LONGEST = 4_000
"""Characters in a field of a form."""


def text(said: str) -> str:
    """Return a typed text; an empty one, with the reason shown, for one that is too long."""
    if len(said) <= LONGEST:
        return said
    st.error(f"This field has {len(said):,} characters, and this server takes {LONGEST:,}; shorten it.")
    return ""


def path(said: str) -> str:
    """Return a typed path, pattern or name on the hub; an empty text, with the reason shown, for one outside."""
    try:
        return confine(said, wiring.open_folders()) if text(said) else ""
    except StudyError as error:
        st.error(plain(str(error)))
        return ""
