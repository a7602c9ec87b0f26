"""Show the chosen feature in full, in the user's text, and turnover over layers and epochs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import feature_turnover, features
from backend.derived.feature_contexts import ContextQuery, TextQuery, contexts, in_text
from backend.figures import feature_contexts as context_figures
from backend.figures import feature_turnover as turnover_figures
from backend.figures import features as figures
from backend.study.typed_texts import Typed
from backend.vocabulary.markdown import plain
from pages.frame import picture, shell, work
from pages.parts import feature_choice

LAYERS = {"few": "three layers", "some": "five layers", "all": "every layer"}


def one(view: shell.View, query: features.Query, result: features.Result, feature: int, at: int) -> None:
    """Draw one feature: numbers, activations, promoted tokens, and the texts where it fires most."""
    st.subheader(f"Feature {feature}")
    requests = [
        contexts.request(ContextQuery(view.checkpoint, view.reference, view.study.prompts, query.source, feature))
    ]
    results = view.results(requests, "Reading the feature")
    if results is None:
        return
    names, places = [checkpoint.label for checkpoint in view.pair], [view.place(checkpoint) for checkpoint in view.pair]
    st.markdown(context_figures.about(result, feature, [plain(name) for name in names], at))
    kept = {key: value for key in (*shell.KEPT, *feature_choice.KEYS) if (value := st.query_params.get(key))}
    kept |= {"heat": "feature", "layer": str(result.layer), "feature": str(feature)}
    st.page_link(
        "pages/review.py", label="Find this feature in your own text", query_params=kept, icon=":material/edit:"
    )
    index = view.study.sample.index

    def rows() -> list[dict[str, Any]]:
        return list(results[0].rows(requests[0].query, index))

    labels = view.study.prompts.labels
    picture.writing(
        view,
        "feature-texts",
        [context_figures.texts(results[0], m, names, view.words, labels, index) for m in range(len(names))],
        context_figures.TEXTS_GUIDE,
        rows,
    )
    drawn = {"feature-histogram": context_figures.histogram(results[0], names, places, len(view.names), feature)}
    if result.words:
        drawn["feature-promotes"] = context_figures.promoted(result, feature, names)
    picture.show(
        view,
        drawn,
        context_figures.GUIDE,
        rows,
        None,
    )


def typed(view: shell.View, text: Typed) -> None:
    """Draw one feature at every token and layer of the user's text, for the Review page."""
    query = feature_choice.controls(view)
    feature_choice.box(view)
    result = feature_choice.result(view, query)
    if result is None:
        return
    ids = figures.ranked(result, "auc" if result.separates else "rate", 0, "", len(view.pair))
    if not ids:
        st.info("No feature fires at any token of the sample.")
        return
    feature = feature_choice.chosen(view, result, ids)
    queries = [TextQuery(checkpoint, query.source, text.prompts, feature) for checkpoint in view.pair]
    results = view.results([in_text.request(query) for query in queries], "Reading every token at every layer")
    if results is None:
        return
    names = [checkpoint.label for checkpoint in view.pair]
    st.markdown(context_figures.about(result, feature, [plain(name) for name in names], 0))
    picture.show(
        view,
        {"review-feature": context_figures.in_text(results, names, text.pieces, feature)},
        context_figures.in_text_guide(result.layer),
        lambda: [
            row for query, inside in zip(queries, results, strict=True) for row in inside.rows(query, text.pieces)
        ],
        None,
    )


@shell.section
def turnover(view: shell.View) -> None:
    """Draw the features of each checkpoint that the reference shares, layer by layer."""
    st.subheader("Which features appear or vanish beyond a change of seed?")
    others = tuple(checkpoint for checkpoint in view.study.checkpoints if checkpoint != view.reference)
    if not others:
        st.info("There is only one model. Add a checkpoint to compare features.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        amount = view.control(st.selectbox, "Layers", "layers", format_func=LAYERS.__getitem__, width=150)
        view.control(st.selectbox, "Features (× width)", "size", width=150)
        view.control(st.selectbox, "Firing (k)", "fires", width=110)
        view.control(st.selectbox, "Seed", "seed", width=80)
        measure: Any = view.control(
            st.selectbox, "Measure", "measure", format_func=turnover_figures.MEASURES.__getitem__, width=300
        )
    facts = view.study.base.facts
    layers = feature_turnover.spread(facts.layers, {"few": 3, "some": 5, "all": facts.layers}[amount])
    query = feature_turnover.Query(
        others,
        view.reference,
        view.study.prompts,
        layers,
        int(view.value("size")) * facts.width,
        int(view.value("fires")),
        seed=int(view.value("seed")),
    )
    requests = [feature_turnover.recipe.request(query)]
    count = len(layers) * (2 + len(others))
    results = work.on_demand(requests, view.lab, "Training autoencoders, layer by layer", f"Train {count} autoencoders")
    if results is None:
        return
    names, places = [checkpoint.label for checkpoint in others], [view.place(checkpoint) for checkpoint in others]
    picture.show(
        view,
        {
            "turnover-curves": turnover_figures.curves(results[0], layers, names, places, len(view.names), measure),
            "turnover-heat": turnover_figures.heatmap(results[0], layers, names, measure),
        },
        turnover_figures.GUIDE,
        picture.rows(requests, results),
        None,
    )
    lines = turnover_figures.in_words(results[0], layers, [plain(name) for name in names])
    st.markdown("\n".join(f"- {line}" for line in lines))
