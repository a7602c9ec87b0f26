"""Show what the server does and holds: jobs, results, memory, open models, the cache on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from backend import wiring
from backend.reports import status as reports
from backend.vocabulary.markdown import plain
from pages.frame import shell

choices = None
"""The page needs no study."""
EVERY_SECONDS = 2.0


def draw(_: None) -> None:
    """Draw the page."""
    st.title("Status")
    _now()


@st.fragment(run_every=EVERY_SECONDS)
def _now() -> None:
    """Draw the status of this moment."""
    now = reports.status(wiring.open_lab(), wiring.jobs())
    with st.container(horizontal=True):
        st.metric("Running jobs", now.running, border=True)
        st.metric("Queued jobs", now.queued, border=True)
        st.metric("Results found", now.found, border=True, help="Since the server started.")
        st.metric("Results computed", now.computed, border=True, help="Since the server started.")
        st.metric("Memory", now.memory or "unknown", border=True, help="Resident memory of the server.")
    _table("Jobs", now.jobs, "No job is queued or running.")
    _table("Open models", now.models, "No model is open; the next job that needs one opens it.")
    _table("Cache on disk", now.cache, "The cache is empty.")
    free = f", with {now.free} free on its disk" if now.free else ""
    st.caption(f"The cache holds {now.on_disk}{free}. The command “python -m backend cache” lists and clears it.")
    if now.note:
        st.caption(plain(now.note))


def _table(title: str, rows: Sequence[dict[str, Any]], empty: str) -> None:
    st.subheader(title)
    if rows:
        st.table([{name: plain(str(value)) for name, value in row.items()} for row in rows])
    else:
        st.caption(empty)


if __name__ == "__main__":
    shell.page(draw, needs_study=False)
