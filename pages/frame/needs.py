"""Say what a study needs before a picture can be drawn."""

from __future__ import annotations

import streamlit as st

from backend.study.kinds import Need
from backend.vocabulary.markdown import plain
from pages.frame.shell import View


def lacks(view: View, need: Need, what: str = "This") -> bool:
    """Show what to add to study.toml if the study lacks a need, and return whether it does; `what` has that need."""
    sentence = view.study.lacks(need)
    if sentence:
        st.info(plain(sentence.replace("This", what, 1)))
    return bool(sentence)
