"""Show the features of a layer's residuals in both models, from sparse autoencoders trained on demand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from backend.analyses import features
from backend.derived.feature_activations import scores_tokens
from backend.figures import autoencoder_quality as quality_figures
from backend.figures import feature_turnover as turnover_figures
from backend.figures import features as figures
from backend.reports import autoencoder_files
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, painted, picture, shell
from pages.parts import feature_choice, feature_details

SHOWN = {"layer": "One layer", "turnover": "Across layers and epochs"}
MORE = {"all": "All features", "activations": "Activations and promoted tokens", "quality": "Quality"}
"""What stands below the chosen feature, one at a time."""
LISTED = 300
Shown = tuple[list[int], int, int]
"""Features in order, the chosen one, and the place of the class that they tell apart."""


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address."""
    facts = study.base.facts
    layers = [str(layer) for layer in range(facts.layers + 1)]
    words = study.words
    return {
        "show": address.Choice(list(SHOWN), "layer"),
        "layer": address.Choice(layers, str(facts.layers // 2)),
        **feature_choice.choices(study),
        "more": address.Choice(list(MORE), "all"),
        "order": address.Choice(_orders(study), "change" if study.lacks("classes") else "auc"),
        "search": address.Text(most=60),
        "class": address.Choice(list(words), words[-1]),
        "measure": address.Choice(list(turnover_figures.MEASURES), "kept"),
        "layers": address.Choice(list(feature_details.LAYERS), "few"),
        "size": address.Choice(("1", "2", "4"), "1"),
        "fires": address.Choice(feature_choice.KS, str(features.usual_k(facts) // 4)),
    }


def _orders(study: PinnedStudy) -> list[str]:
    """Return the orders of features; without classes none tells them apart."""
    return [order for order in figures.ORDERS if order in ("change", "rate") or not study.lacks("classes")]


def draw(view: shell.View) -> None:
    """Draw the page."""
    st.title(plain(f"Features: {view.both}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    if view.drop_largest:
        st.info("An autoencoder reads whole residuals, so this page keeps the three largest dimensions.")
    shown = view.part(SHOWN)
    if shown == "turnover":
        feature_details.turnover(view)
    else:
        _layer(view, painted.already())


@shell.section
def _layer(view: shell.View, whole: bool) -> None:
    """Draw all features and the chosen one side by side; if `whole`, then the rest and the autoencoder's quality."""
    query = feature_choice.controls(view)
    result = feature_choice.result(view, query)
    if result is None:
        return
    shown = _all(view, query, result) if result.rate.any() else None
    if not result.rate.any():
        st.info("No feature fires at any token. Raise k or train on more tokens.")
    if whole:
        _more(view, query, result, shown)


def _more(view: shell.View, query: features.Query, result: features.Result, shown: Shown | None) -> None:
    """Draw the table of features, more on the chosen one, or the quality of the autoencoder."""
    more = view.control(
        st.segmented_control,
        "More",
        "more",
        format_func=MORE.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    if more == "quality":
        _quality(view, query, result)
    elif shown is None:
        return
    elif more == "all":
        _table(view, query, result, shown[0], shown[2])
    else:
        feature_details.more(view, query, result, shown[1])


def _names(view: shell.View) -> list[str]:
    return [checkpoint.label for checkpoint in view.pair]


def _all(view: shell.View, query: features.Query, result: features.Result) -> Shown | None:
    """Draw every feature as a point, beside it the chosen one; None if none is found."""
    names = _names(view)
    word, at = view.choices["class"].default, 0
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(view.words) > 2:
            word = view.control(st.selectbox, "Class against the rest", "class", width=220)
            at = view.words.index(word)
        order: Any = view.control(
            st.segmented_control, "Order", "order", format_func=figures.ORDERS.__getitem__, required=True
        )
        search: Any = view.choices["search"]
        about: dict[str, Any] = {"placeholder": "film", "width": 190}
        if result.words:
            address.text_box("Search promoted tokens", "search", search, make=st.text_input, **about)
        feature_choice.box(view)
    ids = figures.ranked(result, order, at, view.value("search"), len(names))
    if not ids:
        st.info(f"No firing feature promotes a token with “{plain(view.value('search'))}”. Clear the search box.")
        return None
    chosen = feature_choice.chosen(view, result, ids)
    every = [str(feature) for feature in range(len(result.state))]
    lead, beside = st.columns([11, 9], gap="medium")
    with lead:
        picture.show(
            view,
            {"features-scatter": figures.scatter(result, names, at, word, chosen, str(query.layer))},
            figures.GUIDE,
            picture.rows([features.recipe.request(query)], [result]),
            _exported(view, query),
            {"features-scatter": address.picked("features-scatter", "feature", every)},
            layer=result.layer,
        )
        lines = figures.in_words(result, [plain(name) for name in names], at, f"“{plain(word)}”")
        st.markdown("\n".join(f"- {line}" for line in lines))
    if painted.already():
        with beside:
            feature_details.one(view, query, result, chosen, at)
    return ids, chosen, at


def _table(view: shell.View, query: features.Query, result: features.Result, ids: list[int], at: int) -> None:
    """List the features in order."""
    picture.table(
        view,
        "features-all",
        figures.table(result, ids[:LISTED], _names(view), at),
        figures.table_guide(min(LISTED, len(ids)), len(ids), bool(result.words)),
        picture.rows([features.recipe.request(query)], [result]),
        _exported(view, query),
        height=320,
    )


def _exported(view: shell.View, query: features.Query) -> str | None:
    """Return the analysis that exports these numbers, if `export` asks for them."""
    usual = features.queries(view.study, view.reference.label)
    return "features" if any(replace(one, layer=query.layer) == query for one in usual) else None


def _quality(view: shell.View, query: features.Query, result: features.Result) -> None:
    """Show the quality of the autoencoder, its training, and its files."""
    rows = quality_figures.table(result, _names(view))
    picture.table(
        view,
        "features-quality",
        [{key: plain(value) for key, value in row.items()} for row in rows],
        quality_figures.guide(result.layer),
        lambda: rows,
        None,
    )
    if not all(map(scores_tokens, view.pair)):
        st.caption("Without next-token predictions, recovered loss and promoted tokens are undefined.")
    if len(result.step):
        curves = quality_figures.training(
            result.step, result.training_loss, result.training_variance, result.training_dead
        )
        recipe_rows = picture.rows([features.recipe.request(query)], [result])
        picture.show(view, {"features-training": curves}, quality_figures.TRAINING_GUIDE, recipe_rows, None)
    st.download_button(
        "Autoencoder (SAELens format, zip)",
        lambda: autoencoder_files.zipped(view.study, query.source, view.lab),
        f"autoencoder-{view.study.study.name}-layer-{result.layer}.zip",
        "application/zip",
        key="autoencoder-files",
        on_click="ignore",
        icon=":material/download:",
    )


if __name__ == "__main__":
    shell.page(draw)
