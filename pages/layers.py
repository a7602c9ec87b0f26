"""What training changed at every layer: pictures of the residual stream, base and chosen epoch side by side."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import accuracy, confounds, cosines, direction, projection
from backend.analyses import map as maps
from backend.figures import _theme
from backend.figures import accuracy as accuracy_figures
from backend.figures import confounds as confounds_figures
from backend.figures import cosines as cosines_figures
from backend.figures import direction as direction_figures
from backend.figures import map as map_figures
from backend.figures import projection as projection_figures
from backend.lab import PinnedCheckpoint, PinnedStudy
from pages import _address, _frame

TITLE = "Layers"
BASES = {"own": "its own", "base": "the reference's", "shared": "shared by all"}
SHOWN = {"direction": "Direction", "cosines": "Cosines", "map": "Map of one layer", "sample": "Sample card"}


def choices(study: PinnedStudy) -> dict[str, _address.Choice]:
    """The page's keys in the address."""
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    return {
        "basis": _address.Choice(list(BASES), "own"),
        "review": _address.Choice(["", *map(str, study.sample.index.tolist())], ""),
        "show": _address.Choice(list(SHOWN), "direction"),
        "scale": _address.Choice(list(direction_figures.SCALES), "separation"),
        "class": _address.Choice(list(study.study.prompt.label_words), study.study.prompt.label_words[-1]),
        "method": _address.Choice(list(map_figures.NAMES), "tsne"),
        "layer": _address.Choice(layers, layers[-1]),
    }


def draw(view: _frame.View) -> None:
    """The page."""
    st.title(f"Layers: {view.reference.label} and {view.checkpoint.label}")
    for one in view.study.missing:
        st.warning(one.reason)
    _projections(view)
    if _frame.has_painted():
        _details(view)


@_frame.section
def _projections(view: _frame.View) -> None:
    """PCA small multiples and the chosen review."""
    above = st.container()
    basis: Any = view.value("basis")
    pool = view.study.checkpoints if basis == "shared" else ()
    wanted = [
        (projection.recipe, projection.Query(basis, one, view.reference, pool, view.study.prompts, view.drop_largest))
        for one in view.pair
    ]
    found = view.results(wanted, "Projecting every layer")
    if found is not None:
        _pair(view, found, projection_figures.draw, "pca", [one.label for one in view.pair])
        st.caption(
            "Each panel is a layer, named with the share of the variance on its x and y axis; each point is a review "
            "at the readout position; the arrow leads from one class mean to the other. Panels have their own scales: "
            "compare shapes, not sizes; two axes of many can hide a separation that the direction below shows."
        )
    with above:  # filled last, so that the browser sets about loading what draws pictures first
        view.control(st.segmented_control, "Axes of the PCA", "basis", format_func=BASES.__getitem__, required=True)
    _review(view)


def _pair(view: _frame.View, found: list[Any], figure: Any, key: str, titles: list[str]) -> None:
    """Reference and chosen checkpoint side by side; a click on a point chooses its review."""
    rows = [str(row) for row in view.study.sample.index.tolist()]
    chosen = view.value("review")
    with st.container(horizontal=True, key=f"pair-{key}"):
        for side, (result, title) in enumerate(zip(found, titles, strict=True)):
            drawn = figure(
                result,
                view.study.prompts.labels,
                view.study.sample.text,
                view.words,
                title,
                rows.index(chosen) if chosen else None,
            )
            name = f"{key}-{side}"
            with st.container(key=f"side-{name}"):
                st.plotly_chart(
                    drawn,
                    key=name,
                    on_select=_address.picked(name, "review", rows),
                    selection_mode="points",
                    config=_theme.PLOT_CONFIG,
                )


def _review(view: _frame.View) -> None:
    """The chosen review in full, and its numbers at every layer."""
    row = view.value("review")
    if not row:
        st.info("Point at a review to read its beginning; click it to read all of it with its numbers at every layer.")
        return
    chosen = [str(index) for index in view.study.sample.index.tolist()].index(row)
    with st.container(border=True):
        word = view.words[int(view.study.sample.label[chosen])]
        st.markdown(f"**Review {row}**, labelled *{word}*")
        st.text(view.study.sample.text[chosen])
        names = [one.label for one in view.pair]
        answers = view.results(
            [(accuracy.recipe, accuracy.Query(one, view.study.prompts)) for one in view.pair],
            "Reading the answers",
        )
        if answers is not None:
            st.table(accuracy_figures.review(answers, names, view.words, chosen))
        lines = view.results(_directions(view, view.pair), "Measuring the directions")
        if lines is not None:
            places = [view.place(one) for one in view.pair]
            st.plotly_chart(
                direction_figures.review(lines, names, places, len(view.names), view.words, chosen, _direction(view)),
                key="review-curve",
                config=_theme.PLOT_CONFIG,
            )
            st.caption(
                "How far the review lies along the class direction. It took part in the class means, so a small sample "
                "pulls it towards its own class; where the direction is within chance, the curve means nothing."
            )


@_frame.section
def _details(view: _frame.View) -> None:
    """One of the other pictures, so that a move of the slider redraws only what is on show."""
    shown = view.control(
        st.segmented_control,
        "More about the layers",
        "show",
        format_func=SHOWN.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    {"direction": _direction_section, "cosines": _cosines_section, "map": _map_section, "sample": _sample_section}[
        shown
    ](view)


def _direction(view: _frame.View) -> int:
    """Which direction is on show: the only one of two classes, else that of the chosen class."""
    return 0 if len(view.words) == 2 else view.words.index(view.value("class"))


def _directions(view: _frame.View, checkpoints: tuple[PinnedCheckpoint, ...]) -> list[tuple[Any, Any]]:
    return [
        (direction.recipe, direction.Query(one, view.reference, view.study.prompts, view.drop_largest))
        for one in checkpoints
    ]


def _direction_section(view: _frame.View) -> None:
    st.subheader("How far apart are the classes, and is it more than chance?")
    with st.container(horizontal=True):
        scale: Any = view.control(st.segmented_control, "Scale", "scale", required=True)
        if len(view.words) > 2:
            view.control(st.selectbox, "Class against the rest", "class", width=220)
    found = view.results(_directions(view, view.study.checkpoints), "Measuring the directions")
    if found is None:
        return
    at = _direction(view)
    st.plotly_chart(
        direction_figures.heatmap(found, view.names, scale, at), key="direction-heat", config=_theme.PLOT_CONFIG
    )
    pair = [view.place(one) for one in view.pair]
    names = [one.label for one in view.pair]
    pictured = [found[place] for place in pair]
    st.plotly_chart(
        direction_figures.curves(pictured, names, pair, len(view.names), scale, at),
        key="direction-curves",
        config=_theme.PLOT_CONFIG,
    )
    st.markdown(direction_figures.leaves_chance(pictured, names, at))
    st.caption(
        "The distance between the class means at each layer, with 95 % intervals; dotted, what shuffled labels reach "
        "at any layer in one case of twenty. The raw norm grows with the residual stream and with noise: trust the "
        "unbiased norm for existence, relative and separation for comparing layers, and nothing below the dotted line."
    )


def _cosines_section(view: _frame.View) -> None:
    st.subheader("Do checkpoints and layers tell the classes apart along the same direction?")
    query = cosines.Query(view.study.checkpoints, view.study.prompts, view.drop_largest)
    found = view.results([(cosines.recipe, query)], "Comparing the directions")
    lines = view.results(_directions(view, view.study.checkpoints), "Measuring the directions")
    if found is None or lines is None:
        return
    at = _direction(view)
    others = [place for place, name in enumerate(view.names) if name != view.reference.label]
    if others:
        st.plotly_chart(
            direction_figures.to_reference(
                [lines[place] for place in others], [view.names[place] for place in others], others, len(view.names), at
            ),
            key="cosine-curves",
            config=_theme.PLOT_CONFIG,
        )
    with st.container(horizontal=True, key="pair-cosines"):
        for one in view.pair:
            place = view.place(one)
            with st.container(key=f"side-cosines-{place}"):
                st.plotly_chart(
                    cosines_figures.between_layers(found[0], place, one.label, at),
                    key=f"cosine-layers-{place}",
                    config=_theme.PLOT_CONFIG,
                )
    layer = view.control(st.select_slider, "Layer", "layer")
    st.plotly_chart(
        cosines_figures.between_checkpoints(found[0], int(layer), view.names, at),
        key="cosine-checkpoints",
        config=_theme.PLOT_CONFIG,
    )
    st.caption(
        "1 is the same direction, 0 an unrelated one. Plain cosines are inflated because all checkpoints saw the same "
        "reviews; the split-half curve is not, and has gaps where a direction is within its noise."
    )


def _map_section(view: _frame.View) -> None:
    st.subheader("Which reviews are neighbours at one layer?")
    with st.container(horizontal=True):
        method: Any = view.control(
            st.segmented_control, "Method", "method", format_func=map_figures.NAMES.__getitem__, required=True
        )
        layer = int(view.control(st.select_slider, "Layer", "layer"))
    wanted = [
        (
            maps.recipe,
            maps.Query(method, one, view.reference, view.study.prompts, layer, drop_largest=view.drop_largest),
        )
        for one in view.pair
    ]
    found = view.results(wanted, f"Fitting {map_figures.NAMES[method]}")
    if found is None:
        return
    names = [one.label for one in view.pair]
    _pair(view, found, map_figures.draw, "map", [f"{name}, layer {layer}" for name in names])
    for result, name in zip(found, names, strict=True):
        st.markdown(map_figures.in_words(result, name, view.reference.label))
    st.caption(
        "Neighbours on the map are mostly neighbours in the residual stream; distances between groups, their sizes and "
        "their shapes mean nothing. Both maps start from the reference's positions, so places can be compared."
    )


def _sample_section(view: _frame.View) -> None:
    st.subheader("What else could explain the numbers?")
    query = confounds.Query(view.study.checkpoints, view.study.prompts, view.study.sample, view.study.training)
    found = view.results([(confounds.recipe, query)], "Checking the sample")
    if found is None:
        return
    card = found[0]
    st.markdown(
        "\n".join(f"- {line}" for line in confounds_figures.card(card, view.names, len(view.study.sample.text)))
    )
    with st.container(horizontal=True, key="pair-sample"):
        for key, figure in (("quartiles", confounds_figures.quartiles), ("sameness", confounds_figures.sameness)):
            with st.container(key=f"side-{key}"):
                st.plotly_chart(figure(card, view.names), key=key, config=_theme.PLOT_CONFIG)
    st.caption(
        "Read this before any other picture: a sample whose classes differ in length, or that was trained on, shows "
        "directions that are not about the classes. Quartiles hold few reviews each; mind their intervals."
    )


if __name__ == "__main__":
    _frame.page(draw)
