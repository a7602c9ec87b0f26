"""Say whether the chosen checkpoint differs from the reference, in which matrices, and whether its merge is right."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import merging, weights
from backend.caching.memoize import Request
from backend.figures import merging as merging_figures
from backend.figures import weights as figures
from backend.figures.style import theme
from backend.vocabulary.markdown import plain
from pages.frame import film, picture, shell


@shell.section
def draw(view: shell.View) -> None:
    """Show the answer, and the picture of the weights."""
    st.subheader("Is anything there?")

    def asked(then: shell.View) -> list[Request[weights.Result]]:
        return [weights.recipe.request(weights.Query(then.checkpoint, then.reference))]

    def drawn(then: shell.View, found: list[weights.Result]) -> dict[str, Any]:
        title = f"Relative change: {then.reference.label} → {then.checkpoint.label}"
        return {"difference-weights": figures.draw(found[0], title, "change")}

    requests = asked(view)
    results = view.results(requests, "Comparing the weights")
    if results is None:
        return
    names = [plain(one.label) for one in (view.checkpoint, view.reference)]
    st.markdown(figures.in_words(results[0], *names))
    filmed = film.over_epochs(view, asked, results, drawn)
    picture.show(view, filmed, figures.GUIDE, picture.rows(requests, results), "weights")
    if view.checkpoint.facts.adapter:
        _merged(view)


def matrices(view: shell.View) -> None:
    """Draw which weights changed from the reference to the chosen checkpoint."""
    others = [checkpoint for checkpoint in view.study.checkpoints if checkpoint != view.reference]
    if not others:
        st.info("There is only one model. Add a checkpoint to compare weights.")
        return
    st.subheader("Which weights changed, and by how much?")
    scale: Any = view.control(
        st.segmented_control,
        "Show",
        "weights",
        format_func=figures.SCALES.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    requests = [weights.recipe.request(weights.Query(checkpoint, view.reference)) for checkpoint in others]
    results = view.results(requests, "Comparing the weights")
    if results is None:
        return
    if view.checkpoint not in others:
        st.info(f"{plain(view.reference.label)} is the reference. Choose another epoch.")
        return
    at = others.index(view.checkpoint)

    def drawn(then: shell.View, found: list[weights.Result]) -> dict[str, Any]:
        title = f"{figures.SCALES[scale].capitalize()}: {view.reference.label} → {then.checkpoint.label}"
        return {"weight-changes": figures.draw(found[0], title, scale, results)}

    picture.show(
        view,
        film.over_epochs(view, lambda then: [requests[others.index(then.checkpoint)]], [results[at]], drawn),
        figures.GUIDE,
        picture.rows([requests[at]], [results[at]]),
        "weights",
    )


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
