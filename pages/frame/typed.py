"""Check typed paths before anything is read: a form opens only the folders that the server allows."""

from __future__ import annotations

import streamlit as st

from backend import wiring
from backend.errors import StudyError
from backend.study.paths import confine
from backend.vocabulary.markdown import plain


def path(text: str) -> str:
    """Return a typed path, pattern or name on the hub; an empty text, with the reason shown, for one outside."""
    try:
        return confine(text, wiring.open_folders()) if text else ""
    except StudyError as error:
        st.error(plain(str(error)))
        return ""
