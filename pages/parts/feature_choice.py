"""Choose an autoencoder and a feature: keys of the address, their widgets and the query."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend import wiring
from backend.analyses import features
from backend.derived.feature_activations import Opened, open_folder
from backend.figures import autoencoder_quality as quality_figures
from backend.study.paths import confine
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, painted, picture, shell, work

TRAINED_ON = {"both": "both models together", "reference": "the reference alone", "checkpoint": "the checkpoint alone"}
FACTORS, KS, SEEDS = ("2", "4", "8", "16"), ("4", "8", "16", "32", "64"), ("0", "1", "2", "3", "4")
KEYS = ("layer", "on", "factor", "k", "seed", "open", "feature")


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the keys except the layer, whose default is the page's own."""
    return {
        "on": address.Choice(list(TRAINED_ON), "both"),
        "factor": address.Choice(FACTORS, "4"),
        "k": address.Choice(KS, str(features.usual_k(study.base.facts))),
        "seed": address.Choice(SEEDS, "0"),
        "open": address.Text(most=400),
        "feature": address.Text(most=7),
    }


def controls(view: shell.View) -> features.Query:
    """Show the layer, fold the rest, and return the query. AutoencoderError if the folder holds no autoencoder."""
    layer, rest = st.columns([1, 4], gap="medium", vertical_alignment="bottom")
    with layer:
        view.control(st.select_slider, "Layer", "layer")
    if painted.already():
        with rest, st.expander(_summary(view), expanded=bool(view.value("open")), icon=":material/tune:"):
            _settings(view)
    return _query(view)


def _settings(view: shell.View) -> None:
    """Show what determines an autoencoder, apart from the layer."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view.control(st.selectbox, "Trained on", "on", format_func=TRAINED_ON.__getitem__, width=210)
        size = "Number of features, in widths of the residual stream."
        view.control(st.selectbox, "Features (× width)", "factor", width=150, help=size)
        about = "Largest number of features that fire at a token."
        view.control(st.selectbox, "Firing (k)", "k", width=110, help=about)
        view.control(st.selectbox, "Seed", "seed", width=80)
    choice: Any = view.choices["open"]
    about = "A SAELens folder on the server, with cfg.json and sae_weights.safetensors."
    address.text_box("Or open one from a folder", "open", choice, make=st.text_input, help=about)


def _summary(view: shell.View) -> str:
    """Return the choices of an autoencoder in one line."""
    if view.value("open").strip():
        return "Autoencoder from a folder"
    features, k, seed = view.value("factor"), view.value("k"), view.value("seed")
    on = TRAINED_ON[view.value("on")]
    return f"Autoencoder trained on {on}: features {features} × width, at most {k} fire at a token, seed {seed}"


def _query(view: shell.View) -> features.Query:
    named = confine(view.value("open").strip(), wiring.open_folders()) if view.value("open").strip() else ""
    opened: Opened | None = open_folder(named) if named else None
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
    """Return the features, or None until they are requested and computed."""

    def live() -> None:
        points = () if query.opened else view.lab.training_curve(query.source)  # type: ignore[arg-type]
        if len(points) > 1:
            picture.unfinished(quality_figures.so_far(points), "features-live", f"Step {points[-1].step:,} so far.")

    request = features.recipe.request(query)
    if not query.opened and request.peek(view.lab) is None:
        st.markdown(
            "A sparse autoencoder writes the residuals of this layer as a sum of few features out of many. Features "
            "often have a meaning that a reader can name. Train one to see which features training changed."
        )
    results = work.on_demand(
        [request],
        view.lab,
        "Training an autoencoder, then reading its features",
        "Read its features" if query.opened else "Train the autoencoder",
        live,
    )
    return results[0] if results else None


def chosen(view: shell.View, result: features.Result, ids: list[int]) -> int:
    """Return the feature of the address, or the first in order with a warning if it is unknown."""
    said, count = view.value("feature").strip(), result.rate.shape[1]
    if said.isdecimal() and int(said) < count:
        return int(said)
    if said:
        st.warning(f"There is no feature “{plain(said)}”: features are 0 to {count - 1:,}. Showing {ids[0]} instead.")
    return ids[0]


def box(view: shell.View) -> None:
    """Show the box for the number of a feature."""
    choice: Any = view.choices["feature"]
    address.text_box("Feature", "feature", choice, make=st.text_input, placeholder="number", width=110)
