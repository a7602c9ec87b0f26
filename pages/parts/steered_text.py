"""A slider that steers a typed text, on the Review page: answers and generated continuations."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import steered_text
from backend.derived import steering_vectors
from backend.figures import steered_text as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import Typed
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell

POSITIONS = {"readout": "readout position", "all": "all positions, new ones too"}
TEMPERATURES = ("0.5", "0.7", "1", "1.5")


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """The part's keys in the address; without `source` every model has its own direction."""
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    return {
        "alpha": address.Choice([f"{alpha:g}" for alpha in steering_vectors.ALPHAS], "2"),
        "at": address.Choice(layers, str(steering_vectors.middle(study.base.facts.layers))),
        "positions": address.Choice(list(POSITIONS), "all"),
        "source": address.Choice(["", *(one.label for one in study.checkpoints)], ""),
        "temperature": address.Choice(TEMPERATURES, "0.7"),
        "seed": address.Choice([str(seed) for seed in range(10)], "0"),
    }


def show(view: shell.View, typed: Typed, direction: int) -> None:
    """Controls, the answer over the coefficient, and the continuations."""
    st.subheader("What if the direction is added?")
    with st.container(horizontal=True):
        view.control(st.select_slider, "Coefficient α (class differences)", "alpha", width=320)
        view.control(st.select_slider, "Layer", "at", width=320)
    with st.container(horizontal=True):
        own = "each its own"
        view.control(st.selectbox, "Direction of", "source", format_func=lambda one: one or own, width=180)
        view.control(st.segmented_control, "Put at", "positions", format_func=POSITIONS.__getitem__, required=True)
    models = [one for one in view.pair if one.facts.has_head]
    queries = [_query(view, typed, one, direction) for one in models]
    wanted = [steered_text.recipe.request(query) for query in queries]
    found = view.results(wanted, "Reading the text at every coefficient") if wanted else None
    alpha = float(view.value("alpha"))
    if found is not None:
        places = [view.place(one) for one in models]
        picture.show(
            view,
            {"steered-text": figures.coefficients(found, queries, places, len(view.names), view.words, alpha)},
            figures.GUIDE,
            picture.rows(wanted, found),
            None,
        )
        for query, result in zip(queries, found, strict=True):
            st.markdown(plain(figures.answer(result, query, view.words, alpha)))
    silent = [plain(one.label) for one in view.pair if not one.facts.predicts]
    if silent:
        st.caption(f"Without next-token predictions there is nothing that a model would write: {', '.join(silent)}.")
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
    """What each model writes behind the prompt, as it is and steered."""
    st.markdown("**What each model writes behind the prompt**")
    with st.container(horizontal=True):
        view.control(st.segmented_control, "Temperature of what is drawn", "temperature", required=True)
        view.control(st.selectbox, "Seed", "seed", width=100)
    drawn = float(view.value("temperature"))
    layer, positions, seed = int(view.value("at")), _positions(view), int(view.value("seed"))
    queries = [
        steered_text.WrittenQuery(
            one,
            _source(view, one) if coefficient else one,
            typed.prompts,
            view.study.prompts,
            layer if coefficient else 0,
            positions if coefficient else "all",
            direction,
            coefficient,
            temperature,
            0 if temperature is None else seed,
        )
        for one in view.pair
        if one.facts.predicts
        for coefficient in dict.fromkeys((0.0, alpha))
        for temperature in (None, drawn)
    ]
    wanted = [steered_text.written.request(query) for query in queries]
    found = view.results(wanted, "Writing")
    if found is None:
        return
    rows = [{key: plain(value) for key, value in row.items()} for row in figures.written(found, queries)]
    picture.table(
        view,
        "steered-written",
        rows,
        figures.WRITTEN_GUIDE,
        picture.rows(wanted, found),
        None,
    )
