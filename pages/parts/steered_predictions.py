"""Draw steering of a study without answers, on the Swaps page: KL of predictions, and what each model writes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import ablation, steered_predictions, steered_text
from backend.derived import steering_vectors
from backend.figures import ablation as ablation_figures
from backend.figures import steered_predictions as figures
from backend.figures import steered_text as text_figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.typed_texts import read_typed
from backend.vocabulary.markdown import plain
from pages.frame import needs, picture, shell

WRITTEN = (-4.0, 0.0, 4.0)
"""Coefficients at which the models write."""


@shell.section
def draw(view: shell.View, direction: int) -> None:
    """Draw the effect of each model's own direction on its predictions, added and ablated, and what it writes."""
    if needs.lacks(view, "classes", "Steering"):
        return
    st.subheader("What does the class direction change in what the models predict and write?")
    models = [checkpoint for checkpoint in view.pair if checkpoint.facts.predicts]
    if not models:
        st.info("These models predict no tokens, so steering changes nothing that can be read.")
        return
    layers = view.study.base.facts.layers
    said = view.control(st.select_slider, "Layer", "at")
    layer = steering_vectors.middle(layers) if said == "all" else int(said)
    _kl(view, models, layer, direction)
    _written(view, models, layer, direction)
    _ablated(view, models, layer, direction)


def _kl(view: shell.View, models: list[PinnedCheckpoint], layer: int, direction: int) -> None:
    queries = [steered_predictions.query(view.study, one, one, layer, direction) for one in models]
    requests = [steered_predictions.recipe.request(query) for query in queries]
    results = view.results(requests, "Steering neutral sentences")
    if results is None:
        return
    places = [view.place(one) for one in models]
    usual = layer == steering_vectors.middle(view.study.base.facts.layers)
    picture.show(
        view,
        {"steered-predictions": figures.draw(results, queries, places, len(view.names))},
        figures.GUIDE,
        picture.rows(requests, results),
        "steered_predictions" if usual else None,
    )
    for result, query in zip(results, queries, strict=True):
        st.markdown(plain(figures.in_words(result, query, query.checkpoint.label)))


def _written(view: shell.View, models: list[PinnedCheckpoint], layer: int, direction: int) -> None:
    """Show what the models write after the first text of the sample, at three coefficients."""
    st.markdown("**Generated continuations** of the first text of the sample; the Review page steers any text.")
    typed = read_typed(view.study.readers, view.study.sample.text[0])
    queries = [
        steered_text.WrittenQuery(
            one, one, typed.prompts, view.study.prompts, layer if alpha else 0, "all", direction, alpha, None, 0
        )
        for one in models
        for alpha in WRITTEN
    ]
    requests = [steered_text.written.request(query) for query in queries]
    results: Any = view.results(requests, "Generating continuations")
    if results is None:
        return
    rows = [{key: plain(value) for key, value in row.items()} for row in text_figures.written(results, queries)]
    if short := text_figures.cut_short(queries):
        st.caption(plain(short))
    picture.table(view, "steered-samples", rows, text_figures.WRITTEN_GUIDE, picture.rows(requests, results), None)


def _ablated(view: shell.View, models: list[PinnedCheckpoint], layer: int, direction: int) -> None:
    """Draw what removing the direction costs on neutral sentences."""
    requests = [ablation.recipe.request(ablation.query(view.study, one, one, layer, direction)) for one in models]
    results = view.results(requests, "Reading neutral sentences without the direction")
    if results is None:
        return
    picture.show(
        view,
        {"ablation-costs": ablation_figures.draw(results, [one.label for one in models], layer)},
        ablation_figures.COSTS_GUIDE,
        picture.rows(requests, results),
        "ablation",
    )
