"""Say whether the chosen checkpoint differs from the reference at all, and in which matrices."""

from __future__ import annotations

import streamlit as st

from backend.analyses import weights
from backend.figures import weights as figures
from backend.vocabulary.markdown import plain
from pages.frame import picture, shell


@shell.section
def draw(view: shell.View) -> None:
    """Show the answer, and the picture of the weights."""
    st.subheader("Is anything there?")
    query = weights.Query(view.checkpoint, view.reference)
    requests = [weights.recipe.request(query)]
    results = view.results(requests, "Comparing the weights")
    if results is None:
        return
    names = [plain(one.label) for one in (view.checkpoint, view.reference)]
    st.markdown(figures.in_words(results[0], *names))
    title = f"Relative change: {view.reference.label} → {view.checkpoint.label}"
    drawn = {"difference-weights": figures.draw(results[0], title, "change")}
    picture.show(view, drawn, figures.GUIDE, picture.rows(requests, results), "weights")
