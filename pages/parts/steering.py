"""Draw steering on the Swaps page: the class direction added at each coefficient and layer, or ablated."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import ablation, steering
from backend.caching.memoize import Request
from backend.derived import steering_vectors
from backend.figures import ablation as ablation_figures
from backend.figures import steering as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, film, picture, shell
from pages.parts import steered_predictions

SHOWN = {
    "coefficient": "One layer",
    "layers": "Every layer",
    "transfer": "From another model",
    "ablation": "Ablation",
}
POSITIONS = {"readout": "readout position", "all": "all positions"}
SCALES = {"difference": "class differences", "unit": "unit length"}


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the part's keys in the address; by default the chosen epoch runs with its own direction."""
    labels = ["", *(checkpoint.label for checkpoint in study.checkpoints)]
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    words = list(study.words)
    coefficients = [f"{alpha:g}" for one in steering_vectors.COEFFICIENTS.values() for alpha in one if alpha]
    return {
        "steer": address.Choice(list(SHOWN), "coefficient"),
        "runs": address.Choice(labels, ""),
        "source": address.Choice(labels, ""),
        "at": address.Choice([*layers, "all"], str(steering_vectors.middle(study.base.facts.layers))),
        "positions": address.Choice(list(POSITIONS), "readout"),
        "scale": address.Choice(list(SCALES), "difference"),
        "effect": address.Choice(list(figures.SHOWN), "mean_logit_diff"),
        "coefficient": address.Choice(list(dict.fromkeys(coefficients)), "4"),
        "toward": address.Choice(words, words[-1]),
    }


def draw(view: shell.View) -> None:
    """Draw the part of the page that the address names."""
    if view.study.lacks("answers"):
        if len(view.words) > 2:
            view.control(st.selectbox, "Class against the rest", "toward", width=200)
        steered_predictions.draw(view, class_of(view))
        return
    with st.container(horizontal=True):
        view.control(st.segmented_control, "Show", "steer", format_func=SHOWN.__getitem__, required=True)
        if len(view.words) > 2:
            view.control(st.selectbox, "Class against the rest", "toward", width=200)
    shown = view.value("steer")
    if shown in ("coefficient", "layers"):
        _who(view)
    host = pair(view)[0]
    if shown != "ablation" and not host.facts.replies:
        better = "choose another reference" if shown == "transfer" else "choose another model"
        st.info(f"{host.label} has no head to answer with, so its answers cannot be read; {better}.")
        return
    {"coefficient": _coefficients, "layers": _layers, "transfer": _transfer, "ablation": _ablation}[shown](view)


def pair(view: shell.View) -> tuple[PinnedCheckpoint, PinnedCheckpoint]:
    """Return the model that runs and the model whose direction is added."""
    if view.value("steer") == "transfer":
        return view.reference, view.checkpoint
    runs, source = view.value("runs"), view.value("source")
    host = view.study.checkpoint(runs) if runs else view.checkpoint
    return host, view.study.checkpoint(source) if source else host


def _who(view: shell.View) -> None:
    own = f"{view.checkpoint.label} (epoch chosen)"
    with st.container(horizontal=True):
        view.control(st.selectbox, "Model that runs", "runs", format_func=lambda one: one or own, width=220)
        view.control(st.selectbox, "Direction of", "source", format_func=lambda one: one or "the same", width=160)
        view.control(st.selectbox, "Effect", "effect", format_func=figures.UNITS.__getitem__, width=200)
        view.control(
            st.segmented_control, "Added at the", "positions", format_func=POSITIONS.__getitem__, required=True
        )
        view.control(st.segmented_control, "Coefficients in", "scale", format_func=SCALES.__getitem__, required=True)


def class_of(view: shell.View) -> int:
    """Return the direction to use: the only one of two classes, else the chosen class's."""
    return 0 if len(view.words) <= 2 else view.words.index(view.value("toward"))


def query(view: shell.View, spots: tuple[steering_vectors.Spot, ...], null: int = 0) -> steering.Query:
    """Return the query of the address, at some spots."""
    positions: Any = view.value("positions")
    scale: Any = view.value("scale")
    alphas = steering_vectors.COEFFICIENTS[scale]
    given = {"positions": positions, "scale": scale, "alphas": alphas, "direction": class_of(view), "null": null}
    return steering.Query(*pair(view), view.study.prompts, spots, **given)


@shell.section
def _coefficients(view: shell.View) -> None:
    """Draw curves over the coefficient at one layer."""
    said = view.control(st.select_slider, "Layer", "at")
    spot = (None, None) if said == "all" else (int(said), int(said))

    def asked(then: shell.View) -> list[Request[steering.Result]] | None:
        answers = pair(then)[0].facts.replies
        return [steering.recipe.request(query(then, (spot,), steering.NULL))] if answers else None

    requests = asked(view) or []
    results = view.results(requests, "Steering at every coefficient, and with permuted directions")
    if results is None:
        return
    effect: Any = view.value("effect")

    def drawn(then: shell.View, found: list[steering.Result]) -> dict[str, Any]:
        given = (found[0], query(then, (spot,), steering.NULL))
        return {
            f"coefficients-{effect}": figures.coefficients(*given, effect),
            "coefficients-flips": figures.flips(*given, view.words),
        }

    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        figures.COEFFICIENTS_GUIDE,
        picture.rows(requests, results),
        "steering",
    )
    st.markdown(" ".join(plain(figure) for figure in figures.in_words(results[0], requests[0].query, view.words)))


@shell.section
def _layers(view: shell.View) -> None:
    """Draw coefficient by layer."""

    def asked(then: shell.View) -> list[Request[steering.Result]] | None:
        spots = steering_vectors.every_layer(view.study.base.facts.layers)
        return [steering.recipe.request(query(then, spots))] if pair(then)[0].facts.replies else None

    def drawn(then: shell.View, found: list[steering.Result]) -> dict[str, Any]:
        one = query(then, steering_vectors.every_layer(view.study.base.facts.layers))
        return {f"layers-{effect}": figures.heatmap(found[0], one, effect)}

    requests = asked(view) or []
    results = view.results(requests, "Steering at every layer and coefficient")
    if results is None:
        return
    effect: Any = view.value("effect")
    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        figures.HEATMAP_GUIDE,
        picture.rows(requests, results),
        "steering",
    )


@shell.section
def _transfer(view: shell.View) -> None:
    """Draw the reference with the chosen epoch's directions."""
    host, source = pair(view)
    if host == source:
        st.info("Reference and chosen checkpoint are the same. Choose another epoch.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view.control(st.selectbox, "Effect", "effect", format_func=figures.UNITS.__getitem__, width=200)
        view.control(
            st.segmented_control, "Added at the", "positions", format_func=POSITIONS.__getitem__, required=True
        )
        view.control(st.segmented_control, "Coefficients in", "scale", format_func=SCALES.__getitem__, required=True)
    layers = view.study.base.facts.layers

    def queries(then: shell.View) -> tuple[steering.Query, steering.Query]:
        return query(then, steering_vectors.every_layer(layers)), query(then, steering_vectors.to_all(layers))

    single = queries(view)[0]
    coefficients = {f"{alpha:g}": alpha for alpha in single.alphas if alpha}
    said = view.control(st.select_slider, "Coefficient", "coefficient")
    alpha = coefficients.get(said, max(coefficients.values()))
    requests = [steering.recipe.request(one) for one in queries(view)]
    results = view.results(requests, f"Adding directions of {source.label} to {host.label}")
    if results is None:
        return
    effect: Any = view.value("effect")
    measures: Any = dict.fromkeys((effect, "balanced_accuracy"))

    def drawn(then: shell.View, found: list[steering.Result]) -> dict[str, Any]:
        first, second = found
        given = (first, second, queries(then)[0])
        return {f"transfer-{one}": figures.transfer(*given, one, alpha, then.checkpoint.label) for one in measures}

    picture.show(
        view,
        film.over_epochs(view, lambda then: [steering.recipe.request(one) for one in queries(then)], results, drawn),
        figures.transfer_guide(host.label, source.label),
        picture.rows(requests, results),
        "steering",
    )


@shell.section
def _ablation(view: shell.View) -> None:
    """Draw reference and chosen epoch without their direction, and the side effects."""
    said = view.control(st.select_slider, "Direction of layer", "at")
    if said == "all":
        st.info("Ablation removes one direction at all layers. Choose the layer where it was measured.")
        return
    layer, c = int(said), class_of(view)
    models = [checkpoint for checkpoint in view.pair if checkpoint.facts.replies]
    picture.without_head(view.pair)
    if not models:
        return
    answers = [
        steering.recipe.request(steering.ablated(checkpoint, checkpoint, view.study.prompts, layer, c))
        for checkpoint in models
    ]
    results = view.results(answers, "Ablating the direction")
    costs: Any = [None] * len(models)
    asked = [
        ablation.recipe.request(ablation.query(view.study, checkpoint, checkpoint, layer, c)) for checkpoint in models
    ]
    predicts = all(checkpoint.facts.predicts for checkpoint in models)
    there = view.results(asked, "Reading neutral sentences without it") if predicts else costs
    if results is None:
        return
    names = [checkpoint.label for checkpoint in models]
    cells = ablation_figures.table(results, there or costs, [plain(name) for name in names])
    picture.table(
        view,
        "ablation-answers",
        cells,
        ablation_figures.TABLE_GUIDE,
        picture.rows(answers, results),
        "steering",
    )
    if not predicts:
        st.caption("These models predict no tokens, so side effects on other texts are not measured.")
    if there is not None and predicts:
        picture.show(
            view,
            {"ablation-costs": ablation_figures.draw(there, names, layer)},
            ablation_figures.COSTS_GUIDE,
            picture.rows(asked, there),
            "ablation",
        )
    for answer, cost, name in zip(results, there or costs, names, strict=True):
        st.markdown(plain(ablation_figures.in_words(answer, cost, name)))
