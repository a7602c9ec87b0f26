"""Steer the user's text with a slider, on the Review page: answers and generated continuations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from backend.analyses import steered_text
from backend.derived import steering_vectors
from backend.figures import steered_text as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import Typed
from backend.vocabulary.markdown import plain
from pages.frame import address, needs, picture, shell

POSITIONS = {"readout": "readout position", "all": "all positions, new ones too"}
TEMPERATURES = ("0.5", "0.7", "1", "1.5")


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the part's keys in the address; without `source` every model has its own direction."""
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    return {
        "alpha": address.Choice([f"{alpha:g}" for alpha in steering_vectors.ALPHAS], "2"),
        "at": address.Choice(layers, str(steering_vectors.middle(study.base.facts.layers))),
        "positions": address.Choice(list(POSITIONS), "all"),
        "source": address.Choice(["", *(checkpoint.label for checkpoint in study.checkpoints)], ""),
        "temperature": address.Choice(TEMPERATURES, "0.7"),
        "seed": address.Choice([str(seed) for seed in range(10)], "0"),
    }


def show(view: shell.View, typed: Typed, direction: int) -> None:
    """Draw the controls, the answer at each coefficient, and the continuations."""
    st.subheader("What does adding the direction do?")
    if needs.lacks(view, "classes", "Steering"):
        return
    with st.container(horizontal=True):
        slider = st.container(width=320)
        view.control(st.select_slider, "Layer", "at", width=320)
    with st.container(horizontal=True):
        own = "each its own"
        view.control(st.selectbox, "Direction of", "source", format_func=lambda one: one or own, width=180)
        view.control(st.segmented_control, "Added at", "positions", format_func=POSITIONS.__getitem__, required=True)
    models = [checkpoint for checkpoint in view.pair if checkpoint.facts.replies]
    queries = [_query(view, typed, checkpoint, direction) for checkpoint in models]
    requests = [steered_text.recipe.request(query) for query in queries]
    results = view.results(requests, "Reading the text at every coefficient") if requests else None
    choice = view.choices["alpha"]
    if results:  # a larger coefficient than it takes ends in repetition
        choice = replace(choice, default=f"{figures.least_flip(results[-1], queries[-1]):g}")
    with slider:
        address.widget(st.select_slider, "Coefficient α (class differences)", "alpha", choice)
    alpha = float(address.value("alpha", choice))
    if results is not None:
        places = [view.place(checkpoint) for checkpoint in models]
        picture.show(
            view,
            {"steered-text": figures.coefficients(results, queries, places, len(view.names), view.words, alpha)},
            figures.GUIDE,
            picture.rows(requests, results),
            None,
        )
        for query, result in zip(queries, results, strict=True):
            st.markdown(plain(figures.answer(result, query, view.words, alpha)))
    silent = [plain(checkpoint.label) for checkpoint in view.pair if not checkpoint.facts.predicts]
    if silent:
        st.caption(f"Without next-token predictions there are no continuations: {', '.join(silent)}.")
    if len(silent) < len(view.pair):
        _continuations(view, typed, direction, alpha)


def _source(view: shell.View, one: PinnedCheckpoint) -> PinnedCheckpoint:
    return view.study.checkpoint(view.value("source")) if view.value("source") else one


def _query(view: shell.View, typed: Typed, one: PinnedCheckpoint, direction: int) -> steered_text.Query:
    layer, positions = int(view.value("at")), _positions(view)
    return steered_text.Query(one, _source(view, one), typed.prompts, view.study.prompts, layer, positions, direction)


def _positions(view: shell.View) -> Any:
    return view.value("positions")


def _continuations(view: shell.View, typed: Typed, direction: int, alpha: float) -> None:
    """Show the generated continuations, unsteered and steered."""
    st.markdown("**Generated continuations**")
    with st.container(horizontal=True):
        view.control(st.segmented_control, "Sampling temperature", "temperature", required=True)
        view.control(st.selectbox, "Seed", "seed", width=100)
    drawn = float(view.value("temperature"))
    layer, positions, seed = int(view.value("at")), _positions(view), int(view.value("seed"))
    queries = [
        steered_text.WrittenQuery(
            checkpoint,
            _source(view, checkpoint) if coefficient else checkpoint,
            typed.prompts,
            view.study.prompts,
            layer if coefficient else 0,
            positions if coefficient else "all",
            direction,
            coefficient,
            temperature,
            0 if temperature is None else seed,
        )
        for checkpoint in view.pair
        if checkpoint.facts.predicts
        for coefficient in dict.fromkeys((0.0, alpha))
        for temperature in (None, drawn)
    ]
    requests = [steered_text.written.request(query) for query in queries]
    results = view.results(requests, "Generating continuations")
    if results is None:
        return
    rows = [{key: plain(value) for key, value in row.items()} for row in figures.written(results, queries)]
    if short := figures.cut_short(queries):
        st.caption(plain(short))
    picture.table(
        view,
        "steered-written",
        rows,
        figures.WRITTEN_GUIDE,
        picture.rows(requests, results),
        None,
    )
