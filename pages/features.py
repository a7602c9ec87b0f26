"""What the residuals of a layer are made of: features of sparse autoencoders, trained on demand, in both models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from backend.analyses import features
from backend.feature_reading import Opened, open_folder, scores_tokens
from backend.figures import feature_turnover as turnover_figures
from backend.figures import features as figures
from backend.lab import PinnedStudy
from backend.reports import autoencoder_files
from pages import _address, _feature_parts, _frame, _picture, _work

TITLE = "Features"
SHOWN = {"layer": "One layer", "turnover": "Across layers and epochs"}
TRAINED_ON = {"both": "both models together", "reference": "the reference alone", "checkpoint": "the checkpoint alone"}
FACTORS, KS, SEEDS = ("2", "4", "8", "16"), ("4", "8", "16", "32", "64"), ("0", "1", "2", "3", "4")
LISTED = 300


def choices(study: PinnedStudy) -> dict[str, _address.Choice]:
    """The page's keys in the address."""
    facts = study.base.facts
    layers = [str(layer) for layer in range(facts.layers + 1)]
    words = study.study.prompt.label_words
    return {
        "show": _address.Choice(list(SHOWN), "layer"),
        "layer": _address.Choice(layers, str(facts.layers // 2)),
        "on": _address.Choice(list(TRAINED_ON), "both"),
        "factor": _address.Choice(FACTORS, "4"),
        "k": _address.Choice(KS, str(features.usual_k(facts))),
        "seed": _address.Choice(SEEDS, "0"),
        "open": _address.Text(most=400),
        "order": _address.Choice(list(figures.ORDERS), "auc"),
        "search": _address.Text(most=60),
        "feature": _address.Text(most=7),
        "class": _address.Choice(list(words), words[-1]),
        "measure": _address.Choice(list(turnover_figures.MEASURES), "kept"),
        "layers": _address.Choice(list(_feature_parts.LAYERS), "few"),
    }


def draw(view: _frame.View) -> None:
    """The page."""
    st.title(f"Features: {view.reference.label} and {view.checkpoint.label}")
    for one in view.study.missing:
        st.warning(one.reason)
    if view.drop_largest:
        st.info("An autoencoder reads whole residuals, so nothing is left out of them on this page.")
    shown = view.control(
        st.segmented_control,
        "What to look at",
        "show",
        format_func=SHOWN.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    {"layer": _layer, "turnover": _feature_parts.turnover}[shown](view)


@_frame.section
def _layer(view: _frame.View) -> None:
    """One autoencoder: its quality, all its features, and the chosen one."""
    st.subheader("What are the residuals of a layer made of?")
    query = _controls(view)
    found = _work.on_demand(
        [(features.recipe, query)],
        view.lab,
        "Training an autoencoder, then reading its features",
        "Read its features" if query.opened else "Train the autoencoder",
        lambda: _feature_parts.live(view, query),
    )
    if found is None:
        return
    result = found[0]
    _quality(view, query, result)
    if not result.rate.any():
        st.info("No feature fires at any token, so there is nothing to show; raise k or train on more tokens.")
        return
    _all(view, query, result)


def _controls(view: _frame.View) -> features.Query:
    """Which autoencoder."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view.control(st.select_slider, "Layer", "layer", width=220)
        view.control(st.selectbox, "Trained on", "on", format_func=TRAINED_ON.__getitem__, width=210)
        size = "How many features it has, in widths of the residual stream."
        view.control(st.selectbox, "Features (× width)", "factor", width=150, help=size)
        view.control(st.selectbox, "Firing (k)", "k", width=110, help="How many features fire at a token, at most.")
        view.control(st.selectbox, "Seed", "seed", width=90)
    with st.expander("Open an autoencoder from files instead", expanded=bool(view.value("open"))):
        choice: Any = view.choices["open"]
        about = "A folder on the machine that Layershift runs on, with cfg.json and sae_weights.safetensors (SAELens)."
        _address.text_box("Folder", "open", choice, make=st.text_input, help=about)
    return _query(view)


def _query(view: _frame.View) -> features.Query:
    opened: Opened | None = open_folder(view.value("open")) if view.value("open").strip() else None
    trained_on: Any = view.value("on")
    if view.reference == view.checkpoint:
        trained_on = "reference"
    return features.Query(
        view.checkpoint,
        view.reference,
        view.study.prompts,
        0 if opened else int(view.value("layer")),
        0 if opened else int(view.value("factor")) * view.study.base.facts.width,
        0 if opened else int(view.value("k")),
        "both" if opened else trained_on,
        seed=0 if opened else int(view.value("seed")),
        opened=opened,
    )


def _names(view: _frame.View) -> list[str]:
    return [one.label for one in view.pair]


def _quality(view: _frame.View, query: features.Query, result: features.Result) -> None:
    """How good the autoencoder is, and the files."""
    rows = figures.quality(result, _names(view))
    _picture.table(
        view,
        "features-quality",
        [{key: _picture.plain(value) for key, value in row.items()} for row in rows],
        f"Layer {result.layer}: how much of each model's residuals the autoencoder explains, over the tokens of the "
        "sample, which are those that it was trained on; with little explained or most features dead, its features are "
        "not what the layer is made of, so widen it or raise k before reading on.",
        lambda: rows,
        None,
    )
    if not all(map(scores_tokens, view.pair)):
        st.caption("Encoders predict no next token, so there is no loss to recover, and features promote no tokens.")
    st.download_button(
        "The autoencoder (SAELens' format, zip)",
        lambda: autoencoder_files.zipped(view.study, query.source, view.lab),
        f"autoencoder-{view.study.study.name}-layer-{result.layer}.zip",
        "application/zip",
        key="autoencoder-files",
        on_click="ignore",
        icon=":material/download:",
    )


def _all(view: _frame.View, query: features.Query, result: features.Result) -> None:
    """Every feature as a point and as a row, then the chosen one."""
    names = _names(view)
    word, at = view.choices["class"].default, 0
    if len(view.words) > 2:
        word = view.control(st.selectbox, "Class told from the others", "class", width=220)
        at = view.words.index(word)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order: Any = view.control(
            st.segmented_control, "Order", "order", format_func=figures.ORDERS.__getitem__, required=True
        )
        boxes = (("Search promoted tokens", "search", "film", 190), ("Feature", "feature", "number", 110))
        for label, key, example, width in boxes:
            choice: Any = view.choices[key]
            _address.text_box(label, key, choice, make=st.text_input, placeholder=example, width=width)
    ids = figures.ranked(result, order, at, view.value("search"), len(names))
    if not ids:
        st.info(f"No feature that fires promotes a token with “{_picture.plain(view.value('search'))}”; clear the box.")
        return
    chosen = _chosen(view, result, ids)
    recipe_rows = _picture.rows([(features.recipe, query)], [result])
    usual = features.queries(view.study, view.reference.label)
    exported = "features" if any(replace(one, layer=query.layer) == query for one in usual) else None
    every = [str(feature) for feature in range(len(result.state))]
    drawn = {"features-scatter": figures.scatter(result, names, at, word, chosen, str(query.layer))}
    if len(result.step):
        drawn["features-training"] = figures.training(
            result.step, result.training_loss, result.training_variance, result.training_dead
        )
    _picture.show(
        view,
        drawn,
        "Left, every feature at its rates in both models: on the diagonal nothing changed, at an edge one model does "
        "not use it; ringed where its largest activation in a review tells the classes apart with one false discovery "
        "in twenty. Click one. Another seed finds other features: none of them is the model's own.",
        recipe_rows,
        exported,
        {"features-scatter": _address.picked("features-scatter", "feature", every)},
        layer=result.layer,
    )
    lines = figures.in_words(result, [_picture.plain(name) for name in names], at, f"“{_picture.plain(word)}”")
    st.markdown("\n".join(f"- {line}" for line in lines))
    _picture.table(
        view,
        "features-all",
        figures.table(result, ids[:LISTED], names, at),
        f"The first {min(LISTED, len(ids)):,} of {len(ids):,} features in this order; sort by a click on a column. "
        "A rate says how often, a mean how strongly; what a feature promotes is what it says, not what it fires at.",
        recipe_rows,
        exported,
        height=320,
    )
    _feature_parts.one(view, query, result, chosen, at)


def _chosen(view: _frame.View, result: features.Result, ids: list[int]) -> int:
    """The feature that the address names, or the first in order; an unknown one gets a sentence."""
    said, count = view.value("feature").strip(), result.rate.shape[1]
    if said.isdigit() and int(said) < count:
        return int(said)
    if said:
        st.warning(
            f"There is no feature “{_picture.plain(said)}”: they are 0 to {count - 1:,}; showing {ids[0]} instead."
        )
    return ids[0]


if __name__ == "__main__":
    _frame.page(draw)
