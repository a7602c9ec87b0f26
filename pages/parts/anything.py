"""Say whether the chosen checkpoint differs from the reference, in which matrices, and whether its merge is right."""

from __future__ import annotations

import streamlit as st

from backend.analyses import merging, weights
from backend.figures import merging as merging_figures
from backend.figures import weights as figures
from backend.figures.style import theme
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
    if view.checkpoint.facts.adapter:
        _merged(view)


def _merged(view: shell.View) -> None:
    """Say whether the merged adapter computes what the unmerged one does."""
    st.subheader("Is the merged adapter the trained one?")
    requests = [merging.recipe.request(merging.Query(view.checkpoint, view.study.prompts))]
    results = view.results(requests, "Running the adapter merged and unmerged")
    if results is None:
        return
    label = view.checkpoint.label
    said = merging_figures.in_words(results[0], plain(label))
    if results[0].equal and results[0].acts:
        st.markdown(said)
    else:
        st.warning(said)
    colour = theme.checkpoint_colour(view.place(view.checkpoint), len(view.names))
    drawn = {"difference-merging": merging_figures.draw(results[0], label, colour)}
    picture.show(view, drawn, merging_figures.GUIDE, picture.rows(requests, results), "merging")
