"""The field of the longest prompt of a new study, which starts with what its models can read."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from backend import wiring
from backend.new_study.fields import NewStudy
from backend.new_study.inputs import USUAL_TOKENS
from backend.new_study.longest_prompt import shorten
from backend.vocabulary.markdown import plain


def ask() -> int | None:
    """Ask for the longest prompt; None if the user leaves it open."""
    most = st.number_input(
        "Longest prompt, in tokens",
        value=None,
        min_value=1,
        key="new-tokens",
        placeholder=f"up to {USUAL_TOKENS}",
        help="A longer text loses its beginning; the template is always kept.",
    )
    return None if most is None else int(most)


def settle(entered: NewStudy, place: DeltaGenerator, fetch: bool) -> NewStudy:
    """Set an open length to what the models can read, and say in `place` why where it is short."""
    if not (entered.base and entered.data):
        return entered
    entered, reason = shorten(entered, wiring.studies_folder(), wiring.open_lab(), fetch)
    if reason:
        place.caption(f":material/check: {plain(reason)}.")
    return entered
