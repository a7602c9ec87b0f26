"""Parts of the Features page: the chosen feature in full, in a typed text, and turnover over layers and epochs."""

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
    """One feature: numbers, activations, what it promotes, and the texts in which it fires most."""
    st.subheader(f"Feature {feature}")
    wanted = [
        contexts.request(ContextQuery(view.checkpoint, view.reference, view.study.prompts, query.source, feature))
    ]
    found = view.results(wanted, "Looking the feature up")
    if found is None:
        return
    names, places = [one.label for one in view.pair], [view.place(one) for one in view.pair]
    st.markdown(context_figures.about(result, feature, [plain(name) for name in names], at))
    kept = {key: value for key in (*shell.KEPT, *feature_choice.KEYS) if (value := st.query_params.get(key))}
    kept |= {"heat": "feature", "layer": str(result.layer), "feature": str(feature)}
    st.page_link("pages/review.py", label="Look for it in a text of yours", query_params=kept, icon=":material/edit:")
    index = view.study.sample.index

    def rows() -> list[dict[str, Any]]:
        return list(found[0].rows(wanted[0].query, index))

    labels = view.study.prompts.labels
    picture.writing(
        view,
        "feature-texts",
        [context_figures.texts(found[0], m, names, view.words, labels, index) for m in range(len(names))],
        context_figures.TEXTS_GUIDE,
        rows,
    )
    drawn = {"feature-histogram": context_figures.histogram(found[0], names, places, len(view.names), feature)}
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
    """One feature at every token of a typed text, at every layer: for the Review page."""
    query = feature_choice.controls(view)
    feature_choice.box(view)
    result = feature_choice.result(view, query)
    if result is None:
        return
    ids = figures.ranked(result, "auc", 0, "", len(view.pair))
    if not ids:
        st.info("No feature fires at any token of the sample, so there is nothing to look for in the text.")
        return
    feature = feature_choice.chosen(view, result, ids)
    queries = [TextQuery(one, query.source, text.prompts, feature) for one in view.pair]
    found = view.results([in_text.request(one) for one in queries], "Reading every token at every layer")
    if found is None:
        return
    names = [one.label for one in view.pair]
    st.markdown(context_figures.about(result, feature, [plain(name) for name in names], 0))
    picture.show(
        view,
        {"review-feature": context_figures.in_text(found, names, text.pieces, feature)},
        context_figures.in_text_guide(result.layer),
        lambda: [row for one, inside in zip(queries, found, strict=True) for row in inside.rows(one, text.pieces)],
        None,
    )


@shell.section
def turnover(view: shell.View) -> None:
    """Features of each checkpoint alone, paired with the reference's, layer by layer."""
    st.subheader("Which features come and go, beyond what another seed exchanges?")
    others = tuple(one for one in view.study.checkpoints if one != view.reference)
    if not others:
        st.info("There is one model only, so no feature can have come or gone; add a checkpoint.")
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
    wanted = [feature_turnover.recipe.request(query)]
    count = len(layers) * (2 + len(others))
    found = work.on_demand(wanted, view.lab, "Training autoencoders, layer by layer", f"Train {count} autoencoders")
    if found is None:
        return
    names, places = [one.label for one in others], [view.place(one) for one in others]
    picture.show(
        view,
        {
            "turnover-curves": turnover_figures.curves(found[0], layers, names, places, len(view.names), measure),
            "turnover-heat": turnover_figures.heatmap(found[0], layers, names, measure),
        },
        turnover_figures.GUIDE,
        picture.rows(wanted, found),
        None,
    )
    lines = turnover_figures.in_words(found[0], layers, [plain(name) for name in names])
    st.markdown("\n".join(f"- {line}" for line in lines))
