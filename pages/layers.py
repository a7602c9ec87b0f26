"""Show what training changed at every layer: the residual streams of reference and chosen epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import streamlit as st

from backend.analyses import accuracy, projection
from backend.figures import accuracy as accuracy_figures
from backend.figures import direction as direction_figures
from backend.figures import map as map_figures
from backend.figures import projection as projection_figures
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, links, painted, picture, scrubbing, shell
from pages.parts import layer_details, similarity, steps

BASES = {"shared": "shared by all", "base": "the reference's", "own": "its own"}


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address."""
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    undirected = study.lacks("classes") and study.lacks("order")
    return {
        "basis": address.Choice(list(BASES), "shared"),
        "review": address.Choice(["", *map(str, study.sample.index.tolist())], ""),
        "show": address.Choice(list(layer_details.SHOWN), "similarity" if undirected else "direction"),
        "scale": address.Choice(list(direction_figures.SCALES), "separation"),
        "class": address.Choice(list(study.words), study.words[-1]),
        "method": address.Choice(list(map_figures.NAMES), "tsne"),
        "layer": address.Choice(layers, layers[-1]),
        **similarity.choices(),
        **steps.choices(study),
    }


def draw(view: shell.View) -> None:
    """Draw the page."""
    st.title(plain(f"Layers: {view.both}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    layer_details.heat(view)
    _projections(view)
    if painted.already():
        layer_details.draw(view)


@shell.section
def _projections(view: shell.View) -> None:
    """Draw PCA small multiples of all checkpoints and the chosen review."""
    scrubbing.follow(view)
    above = st.container(horizontal=True, vertical_alignment="bottom")
    basis: Any = view.value("basis")
    requests = [
        projection.recipe.request(query)
        for query in projection.of_all(view.study, view.reference, basis, view.drop_largest)
    ]
    pair = [requests[view.place(checkpoint)] for checkpoint in view.pair]
    results = view.results(pair, "Projecting every layer")
    if results is not None:
        known = [request.peek(view.lab) for request in requests]
        _moving(view, known, _with_texts(view, picture.rows(pair, results)))
        if view.results(requests, "Projecting the other epochs") and any(one is None for one in known):
            st.rerun()  # they landed while this section was drawn
    with above:  # filled last, so that the browser loads the pictures first
        st.subheader("Where does each text lie?")
        view.control(st.segmented_control, "PCA axes", "basis", format_func=BASES.__getitem__, required=True)
    _review(view)


def _with_texts(view: shell.View, rows: picture.Rows) -> picture.Rows:
    """Add label and text to rows that name a review by its index."""
    sample = view.study.sample
    place = {index: i for i, index in enumerate(sample.index.tolist())}

    def added() -> Iterator[dict[str, Any]]:
        for row in rows():
            review = place[row["index"]]
            label = {} if view.study.lacks("classes") else {"label": view.words[int(sample.label[review])]}
            yield row | label | {"text": sample.text[review]}

    return added


def _moving(view: shell.View, results: list[projection.Result | None], rows: picture.Rows) -> None:
    """Draw the points of all checkpoints whose results are there, between which the browser moves them."""
    sample, chosen = view.study.sample, view.value("review")
    index = sample.index.tolist()
    names = [str(row) for row in index]
    epochs = [checkpoint.label for checkpoint in view.study.epochs]
    data = projection_figures.pack(
        results, view.names, epochs, view.study.prompts.labels, sample.text, index, view.words, sample.values
    )
    picture.moving(
        view,
        data,
        projection_figures.guide(len(view.words), bool(sample.values)),
        rows,
        "projection",
        address.chooses("review", names),
        names.index(chosen) if chosen else None,
    )


def _review(view: shell.View) -> None:
    """Show the chosen review in full, and its numbers at every layer."""
    row = view.value("review")
    if not row:
        st.caption("Point at a text to read its beginning. Click it to see all of it, and its numbers at every layer.")
        return
    chosen = [str(index) for index in view.study.sample.index.tolist()].index(row)
    with st.container(border=True):
        word = view.words[int(view.study.sample.label[chosen])]
        st.markdown(f"**Text {row}**" + ("" if len(view.words) == 1 else f", labelled *{plain(word)}*"))
        st.text(view.study.sample.text[chosen])
        with st.container(horizontal=True):
            if st.button("Read it token by token", key="to-review", icon=":material/arrow_forward:"):
                text = address.said_of(view.study.sample.text[chosen], address.Text())
                st.switch_page(str(Path(__file__).with_name("review.py")), query_params=links.kept() | {"text": text})
            st.button("Close", key="close-review", icon=":material/close:", on_click=address.forget, args=("review",))
        _answers(view, chosen)
        _along(view, chosen)


def _answers(view: shell.View, chosen: int) -> None:
    """Show the answers of reference and checkpoint to the chosen review."""
    if view.study.lacks("answers"):
        return
    asked = [accuracy.Query(checkpoint, view.study.prompts) for checkpoint in view.pair]
    results = view.results([accuracy.recipe.request(query) for query in asked], "Reading the answers")
    if results is None:
        return
    index = int(view.study.sample.index[chosen])
    picture.table(
        view,
        "review-answers",
        accuracy_figures.review(results, [checkpoint.label for checkpoint in view.pair], view.words, chosen),
        accuracy_figures.REVIEW_GUIDE,
        lambda: [
            one
            for query, result in zip(asked, results, strict=True)
            for one in result.review_rows(query, chosen, index)
        ],
        None,
    )


def _along(view: shell.View, chosen: int) -> None:
    """Draw the position of the chosen review along the class direction."""
    if view.study.lacks("classes"):
        return
    requests = layer_details.directions(view, view.study.checkpoints)
    results = view.results(requests, "Measuring the directions")
    if results is None:
        return
    places, pair = [*range(len(view.names))], (view.checkpoint.label, view.reference.label)
    at, index = layer_details.direction_shown(view), int(view.study.sample.index[chosen])
    drawn = direction_figures.review(results, view.names, places, len(places), view.words, chosen, at, pair)
    picture.show(
        view,
        {"review-curve": drawn},
        direction_figures.REVIEW_GUIDE,
        lambda: [
            one
            for request, result in zip(requests, results, strict=True)
            for one in result.review_rows(request.query, chosen, index)
        ],
        None,
    )


if __name__ == "__main__":
    shell.page(draw)
