"""Draw the parts of the Layers page: the heat map above, and what can be chosen below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from backend.analyses import confounds, cosines, direction
from backend.analyses import map as maps
from backend.caching.memoize import Request
from backend.figures import confounds as confounds_figures
from backend.figures import cosines as cosines_figures
from backend.figures import direction as direction_figures
from backend.figures import map as map_figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.vocabulary.markdown import plain
from pages.frame import address, film, needs, picture, shell
from pages.parts import ordered_label, similarity, trajectory

SHOWN = {
    "direction": "Direction",
    "cosines": "Cosines",
    "similarity": "Similarity",
    "training": "Over training",
    "map": "Map of one layer",
    "sample": "Sample card",
}
ROW = 20
"""Height of a row of the first picture in pixels: the layers below it are in view too."""


@shell.section
def draw(view: shell.View) -> None:
    """Draw the chosen part; its widgets redraw only that part."""
    shown = view.part(SHOWN)
    drawn = {
        "direction": _direction,
        "cosines": _cosines,
        "similarity": similarity.draw,
        "training": trajectory.draw,
        "map": _map,
        "sample": _sample,
    }
    drawn[shown](view)


def of_reviews(
    view: shell.View, results: Sequence[maps.Result], more: str
) -> tuple[dict[str, Any], Mapping[str, Callable[[], None]]]:
    """Return maps of both checkpoints with a point per review, and callbacks: a click chooses the review.

    `more` is added to the checkpoints' labels in the titles.
    """
    sample, labels, chosen = view.study.sample, view.study.prompts.labels, view.value("review")
    rows = [str(row) for row in sample.index.tolist()]
    selected = rows.index(chosen) if chosen else None
    titles = [checkpoint.label + more for checkpoint in view.pair]
    drawn = {
        f"map-{side}": map_figures.draw(result, labels, sample.text, view.words, title, selected, sample.values)
        for side, result, title in zip(("reference", "chosen"), results, titles, strict=False)
    }
    return drawn, {name: address.picked(name, "review", rows) for name in drawn}


def direction_shown(view: shell.View) -> int:
    """Return the direction to show: the only one of two classes, else the chosen class's."""
    return 0 if len(view.words) <= 2 else view.words.index(view.value("class"))


def directions(view: shell.View, checkpoints: Sequence[PinnedCheckpoint]) -> list[Request[direction.Result]]:
    """Return the requests for the class directions of the checkpoints against the reference."""
    return [
        direction.recipe.request(direction.Query(checkpoint, view.reference, view.study.prompts, view.drop_largest))
        for checkpoint in checkpoints
    ]


def heat(view: shell.View) -> None:
    """Draw how every layer of every checkpoint holds the label; a click chooses layer and epoch."""
    if not view.study.lacks("order"):
        ordered_label.heat(view, {"ordered-heat": lambda: _choose(view, "ordered-heat")}, ROW)
        return
    if view.study.lacks("classes"):
        return  # the points lead, and the part below says what is lacking
    lead, beside = st.columns([5, 3], gap="medium")
    with beside:
        scale: Any = view.control(st.segmented_control, "Scale", "scale", required=True)
        if len(view.words) > 2:
            view.control(st.selectbox, "Class against the rest", "class")
    requests = directions(view, view.study.checkpoints)
    with lead:
        results = view.results(requests, "Measuring the directions of all checkpoints")
    if results is None:
        return
    at, key = direction_shown(view), "direction-heat"
    pair = [results[view.place(checkpoint)] for checkpoint in view.pair]
    beside.markdown(direction_figures.leaves_chance(pair, [plain(checkpoint.label) for checkpoint in view.pair], at))
    beside.caption("Click a cell to choose its layer and epoch.")

    chosen = (view.place(view.checkpoint), int(view.value("layer")))
    with lead:
        picture.show(
            view,
            {key: direction_figures.heatmap(results, view.names, scale, at, chosen, ROW)},
            direction_figures.GUIDES[scale],
            picture.rows(requests, results),
            "direction",
            {key: lambda: _choose(view, key)},
        )


def _choose(view: shell.View, key: str) -> None:
    """Choose epoch and layer of the cell that was clicked."""
    cell = address.clicked_cell(key)
    if cell is not None:
        st.query_params.update(epoch=view.names[cell[0]], layer=str(cell[1]))


def _direction(view: shell.View) -> None:
    if not view.study.lacks("order"):
        ordered_label.curves(view)
        return
    st.subheader("How far apart are the classes, compared with chance?")
    if needs.lacks(view, "classes", "The distance between classes"):
        return
    scale: Any = view.value("scale")
    requests = directions(view, view.study.checkpoints)
    results = view.results(requests, "Measuring the directions")
    if results is None:
        return
    places, at = [*range(len(view.names))], direction_shown(view)
    picture.show(
        view,
        {
            "direction-curves": direction_figures.curves(
                results, view.names, places, len(places), scale, at, (view.checkpoint.label, view.reference.label)
            )
        },
        direction_figures.CURVES_GUIDE,
        picture.rows(requests, results),
        "direction",
    )


def _cosines(view: shell.View) -> None:
    st.subheader("Do checkpoints and layers share a class direction?")
    if needs.lacks(view, "classes", "The cosine of class directions"):
        return
    query = cosines.Query(view.study.checkpoints, view.study.prompts, view.drop_largest, view.reference)
    results = view.results([cosines.recipe.request(query)], "Comparing the directions")
    others = [place for place, name in enumerate(view.names) if name != view.reference.label]
    requests = directions(view, [view.study.checkpoints[place] for place in others])
    lines = view.results(requests, "Measuring the directions")
    if results is None or lines is None:
        return
    at = direction_shown(view)
    if others:
        names = [view.names[place] for place in others]
        picture.show(
            view,
            {
                "cosine-curves": cosines_figures.to_reference(
                    lines, names, others, len(view.names), view.reference.label, at
                )
            },
            cosines_figures.reference_guide(view.reference.label),
            picture.rows(requests, lines),
            "direction",
        )
        missing = cosines_figures.without_split(lines, names, view.reference.label, at)
        if missing:
            st.info(plain(missing))
    rows = picture.rows([cosines.recipe.request(query)], results)
    drawn = {
        f"cosine-layers-{side}": cosines_figures.between_layers(
            results[0], view.place(checkpoint), view.names, at, moves=checkpoint == view.checkpoint
        )
        for side, checkpoint in enumerate(view.pair)
    }
    picture.show(
        view,
        drawn,
        cosines_figures.LAYERS_GUIDE,
        rows,
        "cosines",
    )
    layer = int(view.control(st.select_slider, "Layer", "layer"))
    picture.show(
        view,
        {"cosine-checkpoints": cosines_figures.between_checkpoints(results[0], layer, view.names, at)},
        cosines_figures.CHECKPOINTS_GUIDE,
        rows,
        "cosines",
    )


def _map(view: shell.View) -> None:
    st.subheader("Which texts are neighbours at one layer?")
    with st.container(horizontal=True):
        method: Any = view.control(
            st.segmented_control, "Method", "method", format_func=map_figures.NAMES.__getitem__, required=True
        )
        layer = int(view.control(st.select_slider, "Layer", "layer"))
    prompts, sample = view.study.prompts, view.study.sample

    def of(checkpoint: PinnedCheckpoint) -> Request[maps.Result]:
        more: dict[str, Any] = {"drop_largest": view.drop_largest, "sample": sample}
        return maps.recipe.request(maps.Query(method, checkpoint, view.reference, prompts, layer, **more))

    def drawn(then: shell.View, found: list[maps.Result]) -> dict[str, Any]:
        return of_reviews(then, found, f", layer {layer}")[0]

    requests = [of(checkpoint) for checkpoint in view.pair]
    results = view.results(requests, f"Fitting {map_figures.NAMES[method]}")
    if results is None:
        return
    picks = of_reviews(view, results, f", layer {layer}")[1]
    picture.show(
        view,
        film.over_epochs(view, lambda then: [of(one) for one in then.pair], results, drawn),
        map_figures.guide(bool(sample.values)),
        picture.rows(requests, results),
        "map",
        picks,
        None if layer == view.study.base.facts.layers else layer,
    )
    for result, checkpoint in zip(results, view.pair, strict=True):
        st.markdown(map_figures.in_words(result, plain(checkpoint.label), plain(view.reference.label)))


def _sample(view: shell.View) -> None:
    st.subheader("What else could explain the numbers?")
    query = confounds.Query(view.study.checkpoints, view.study.prompts, view.study.sample, view.study.training)
    results = view.results([confounds.recipe.request(query)], "Checking the sample")
    if results is None:
        return
    card = results[0]
    sentences = confounds_figures.card(card, [plain(name) for name in view.names], len(view.study.sample.text))
    st.markdown("\n".join(f"- {line}" for line in sentences))
    quartiles = {} if view.study.lacks("answers") else {"quartiles": confounds_figures.quartiles(card, view.names)}
    picture.show(
        view,
        {**quartiles, "sameness": confounds_figures.sameness(card, view.names)},
        confounds_figures.GUIDE if quartiles else confounds_figures.UNASKED_GUIDE,
        picture.rows([confounds.recipe.request(query)], results),
        "confounds",
    )
