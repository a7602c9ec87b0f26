"""Show the chosen feature in full, in the user's text, and turnover over layers and epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from backend.analyses import feature_turnover, features
from backend.derived.feature_contexts import ContextQuery, Contexts, TextQuery, contexts, in_text
from backend.figures import feature_contexts as context_figures
from backend.figures import feature_turnover as turnover_figures
from backend.figures import features as figures
from backend.study.typed_texts import Typed
from backend.vocabulary.markdown import plain
from pages.frame import links, picture, shell, work
from pages.parts import feature_choice

LAYERS = {"few": "three layers", "some": "five layers", "all": "every layer"}


def one(view: shell.View, query: features.Query, result: features.Result, feature: int, at: int) -> None:
    """Describe one feature and show the texts where it fires most."""
    st.subheader(f"Feature {feature}")
    found = _contexts(view, query, feature)
    if found is None:
        return
    names = [checkpoint.label for checkpoint in view.pair]
    st.markdown(context_figures.about(result, feature, [plain(name) for name in names], at))
    _texts(view, "feature-texts", found, len(names) - 1)
    chosen = {key: value for key in feature_choice.KEYS if (value := st.query_params.get(key))}
    chosen |= {"heat": "feature", "layer": str(result.layer), "feature": str(feature)}
    st.page_link(
        str(Path(__file__).parents[1] / "review.py"),
        label="Find this feature in your own text",
        query_params=links.kept() | chosen,
        icon=":material/edit:",
    )


def _texts(view: shell.View, key: str, found: tuple[ContextQuery, Contexts], m: int) -> None:
    """Show the texts where the feature fires most in model `m`."""
    names, index = [checkpoint.label for checkpoint in view.pair], view.study.sample.index
    drawn = context_figures.texts(found[1], m, names, view.words, view.study.prompts.labels, index)
    picture.writing(view, key, [drawn], context_figures.TEXTS_GUIDE, lambda: found[1].rows(found[0], index))


def more(view: shell.View, query: features.Query, result: features.Result, feature: int) -> None:
    """Draw the activations of one feature, and the tokens that it promotes."""
    found = _contexts(view, query, feature)
    if found is None:
        return
    names, places = [checkpoint.label for checkpoint in view.pair], [view.place(checkpoint) for checkpoint in view.pair]
    drawn = {"feature-histogram": context_figures.histogram(found[1], names, places, len(view.names), feature)}
    if result.words:
        drawn["feature-promotes"] = context_figures.promoted(result, feature, names)
    index = view.study.sample.index
    picture.show(view, drawn, context_figures.GUIDE, lambda: found[1].rows(found[0], index), None)
    if len(names) > 1:
        with st.expander(f"Where it fires most in {plain(names[0])}"):
            _texts(view, "feature-texts-reference", found, 0)


def _contexts(view: shell.View, query: features.Query, feature: int) -> tuple[ContextQuery, Contexts] | None:
    """Return where one feature fires, and what was asked for it."""
    asked = ContextQuery(view.checkpoint, view.reference, view.study.prompts, query.source, feature)
    results = view.results([contexts.request(asked)], "Reading the feature")
    return None if results is None else (asked, results[0])


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
