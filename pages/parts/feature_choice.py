"""Which autoencoder, and which of its features: the keys of the address that say so, their widgets and the query."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import features
from backend.derived.feature_activations import Opened, open_folder
from backend.figures import features as figures
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell, work

TRAINED_ON = {"both": "both models together", "reference": "the reference alone", "checkpoint": "the checkpoint alone"}
FACTORS, KS, SEEDS = ("2", "4", "8", "16"), ("4", "8", "16", "32", "64"), ("0", "1", "2", "3", "4")
KEYS = ("layer", "on", "factor", "k", "seed", "open", "feature")


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """The keys, but for the layer, of which every page has its own default."""
    return {
        "on": address.Choice(list(TRAINED_ON), "both"),
        "factor": address.Choice(FACTORS, "4"),
        "k": address.Choice(KS, str(features.usual_k(study.base.facts))),
        "seed": address.Choice(SEEDS, "0"),
        "open": address.Text(most=400),
        "feature": address.Text(most=7),
    }


def controls(view: shell.View) -> features.Query:
    """The widgets, and what they ask for. AutoencoderError if a folder is named that holds no autoencoder."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view.control(st.select_slider, "Layer", "layer", width=220)
        view.control(st.selectbox, "Trained on", "on", format_func=TRAINED_ON.__getitem__, width=210)
        size = "How many features it has, in widths of the residual stream."
        view.control(st.selectbox, "Features (× width)", "factor", width=150, help=size)
        view.control(st.selectbox, "Firing (k)", "k", width=110, help="How many features fire at a token, at most.")
        view.control(st.selectbox, "Seed", "seed", width=80)
    with st.expander("Open an autoencoder from files instead", expanded=bool(view.value("open"))):
        choice: Any = view.choices["open"]
        about = "A folder on the machine that Layershift runs on, with cfg.json and sae_weights.safetensors (SAELens)."
        address.text_box("Folder", "open", choice, make=st.text_input, help=about)
    return _query(view)


def _query(view: shell.View) -> features.Query:
    opened: Opened | None = open_folder(view.value("open")) if view.value("open").strip() else None
    trained_on: Any = view.value("on")
    if view.reference == view.checkpoint:
        trained_on = "reference"
    if opened is not None:
        return features.Query(view.checkpoint, view.reference, view.study.prompts, 0, 0, 0, opened=opened)
    return features.Query(
        view.checkpoint,
        view.reference,
        view.study.prompts,
        int(view.value("layer")),
        int(view.value("factor")) * view.study.base.facts.width,
        int(view.value("k")),
        trained_on,
        seed=int(view.value("seed")),
    )


def result(view: shell.View, query: features.Query) -> features.Result | None:
    """The features, or None while nobody has asked for them or they are on their way."""

    def live() -> None:
        points = () if query.opened else view.lab.training_curve(query.source)  # type: ignore[arg-type]
        if len(points) > 1:
            picture.unfinished(figures.so_far(points), "features-live", f"Step {points[-1].step:,} so far.")

    found = work.on_demand(
        [features.recipe.request(query)],
        view.lab,
        "Training an autoencoder, then reading its features",
        "Read its features" if query.opened else "Train the autoencoder",
        live,
    )
    return found[0] if found else None


def chosen(view: shell.View, result: features.Result, ids: list[int]) -> int:
    """The feature that the address names, or the first in order; an unknown one gets a sentence."""
    said, count = view.value("feature").strip(), result.rate.shape[1]
    if said.isdigit() and int(said) < count:
        return int(said)
    if said:
        st.warning(f"There is no feature “{plain(said)}”: they are 0 to {count - 1:,}; showing {ids[0]} instead.")
    return ids[0]


def box(view: shell.View) -> None:
    """Where the number of a feature is typed."""
    choice: Any = view.choices["feature"]
    address.text_box("Feature", "feature", choice, make=st.text_input, placeholder="number", width=110)
