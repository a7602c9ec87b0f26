"""Show where the answer becomes readable: heads and linear probes at every layer, and direct attribution."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import inherited, probes
from backend.caching.memoize import Request
from backend.figures import flips
from backend.figures import linear_probes as linear_figures
from backend.figures import probes as figures
from backend.figures.style import theme
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import Need
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, film, needs, picture, shell
from pages.parts import probe_details

SHOWN = {
    "curves": "Through a head",
    "reviews": "Which texts flip",
    "linear": "Linear probes",
    "inherited": "Own or inherited",
    "parts": "Heads and MLPs",
}
NEEDED: dict[str, Need] = {"curves": "answers", "reviews": "answers", "parts": "answers", "linear": "classes"}
HEADS = {"base": "the reference's", "own": "its own"}
NORMS = {"none": "none", "base": "the reference's", "own": "its own", "published": "as published"}


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address."""
    return {
        "show": address.Choice(list(SHOWN), "linear" if study.lacks("answers") else "curves"),
        "head": address.Choice(list(HEADS), "own"),
        "norm": address.Choice(list(NORMS), "own"),
        "measure": address.Choice(list(figures.MEASURES), "auc"),
        "fit": address.Choice(list(linear_figures.SHOWN), "accuracy"),
        "scope": address.Choice(list(inherited.SCOPES), "change"),
        "parts": address.Choice(["gap", "change"], "gap"),
        "class": address.Choice(list(study.words), study.words[-1]),
        "review": address.Choice(["", *map(str, study.sample.index.tolist())], ""),
    }


def draw(view: shell.View) -> None:
    """Draw the page."""
    st.title(plain(f"Probes: {view.both}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    shown = view.part(SHOWN)
    if shown in NEEDED and needs.lacks(view, NEEDED[shown], f"“{SHOWN[shown]}”"):
        return
    parts = {
        "curves": _curves,
        "reviews": _reviews,
        "linear": probe_details.linear,
        "inherited": probe_details.inherited_share,
        "parts": probe_details.parts,
    }
    parts[shown](view)


def _asked(view: shell.View, checkpoints: tuple[PinnedCheckpoint, ...]) -> list[Request[probes.Result]]:
    """Return the requests for the readings of the checkpoints."""
    return [
        probes.recipe.request(probes.Query(checkpoint, view.reference, view.study.prompts))
        for checkpoint in checkpoints
    ]


def _readers(view: shell.View) -> tuple[PinnedCheckpoint, ...]:
    """Return reference and chosen checkpoint if they have a head; show a message if neither has."""
    results = tuple(checkpoint for checkpoint in view.pair if checkpoint.facts.replies)
    if results:
        picture.without_head(view.pair)
        return results
    st.info(
        f"{plain(view.checkpoint.label)} is {view.checkpoint.facts.headless}. "
        "Choose an epoch with a head, or see the linear probes."
    )
    return ()


def _reading(view: shell.View) -> probes.Reading | None:
    """Show the controls of head and norm, and return their reading; an encoder has no final norm.

    Return None, and show a message, if the reading needs a head that the reference lacks.
    """
    published, encoder = view.value("norm") == "published", view.study.base.facts.kind == "encoder"
    fixed = published and not encoder
    view.control(st.segmented_control, "Head", "head", format_func=HEADS.__getitem__, required=True, disabled=fixed)
    norm = "none"
    if not encoder:
        norm = view.control(st.segmented_control, "Final norm", "norm", format_func=NORMS.__getitem__, required=True)
    if not view.reference.facts.replies and (fixed or view.value("head") == "base"):
        st.info(
            f"{plain(view.reference.label)} is {view.reference.facts.headless}. "
            "Choose “its own”, or a reference with a head under “Compared with”."
        )
        return None
    return probes.AS_PUBLISHED if fixed else (view.value("head"), norm)


def _class(view: shell.View) -> int:
    return view.words.index(view.value("class"))


def _rows(
    requests: list[Request[probes.Result]], results: list[probes.Result], reading: probes.Reading
) -> picture.Rows:
    """Return the rows of one reading."""
    return lambda: [
        row
        for request, result in zip(requests, results, strict=True)
        for row in result.rows_of(request.query, result.readings[result.place(*reading)])
    ]


@shell.section
def _curves(view: shell.View) -> None:
    """Draw every layer read by a head: reference and checkpoint, then all checkpoints."""
    st.subheader("From which layer on can a head read the answer?")
    shown, answering = _readers(view), view.study.answering
    if not shown:
        return
    with st.container(horizontal=True):
        reading = _reading(view)
        measure: Any = view.control(
            st.selectbox, "Measure", "measure", format_func=figures.MEASURES.__getitem__, width=230
        )
        if measure == "recall" or (measure == "mean_logit_diff" and len(view.words) > 2):
            view.control(st.selectbox, "Class", "class", width=160)
    if reading is None:
        return
    requests = _asked(view, answering)
    results = view.results(requests, "Reading every layer")
    if results is None:
        return
    names, c = [section.label for section in shown], _class(view)
    at = [answering.index(section) for section in shown]
    pictured = [results[i] for i in at]
    colours = [theme.checkpoint_colour(view.place(one), len(view.names)) for one in answering]
    given = (results, [one.label for one in answering], colours, view.words, reading, measure, c)
    picture.show(
        view,
        {"probe-curves": figures.curves(*given, (view.checkpoint.label, view.reference.label))},
        figures.curves_guide(reading),
        _rows(requests, results, reading),
        "probes",
    )
    st.markdown(figures.leaves_chance(pictured, [plain(name) for name in names], reading))
    if view.study.base.facts.kind == "causal":
        last, query = results[at[-1]], requests[at[-1]].query

        def readings(then: shell.View, found: list[probes.Result]) -> dict[str, Any]:
            given = (then.checkpoint.label, view.reference.label, view.words, measure, c)
            return {"probe-readings": figures.readings(found[0], *given)}

        def of_one(then: shell.View) -> list[Request[probes.Result]] | None:
            return _asked(then, (then.checkpoint,)) if then.checkpoint in answering else None

        drawn = {"probe-readings": figures.readings(last, names[-1], view.reference.label, view.words, measure, c)}
        if shown[-1] == view.checkpoint:
            drawn = film.over_epochs(view, of_one, [last], readings)
        picture.show(
            view,
            drawn,
            figures.readings_guide(view.reference.facts.replies),
            lambda: [row for one in last.readings for row in last.rows_of(query, one)],
            "probes",
        )
    picture.show(
        view,
        {
            "probe-heat": figures.heatmap(
                results, [checkpoint.label for checkpoint in answering], view.words, reading, measure, c
            )
        },
        figures.HEATMAP_GUIDE,
        _rows(requests, results, reading),
        "probes",
    )


@shell.section
def _reviews(view: shell.View) -> None:
    """Draw review x layer, and the chosen review."""
    st.subheader("Which texts flip at which layer?")
    shown = _readers(view)
    if not shown:
        return
    with st.container(horizontal=True):
        reading = _reading(view)
    if reading is None:
        return
    requests = _asked(view, shown)
    results = view.results(requests, "Reading every layer")
    if results is None:
        return
    sample, labels = view.study.sample, view.study.prompts.labels
    indices = [str(index) for index in sample.index.tolist()]
    row = view.value("review")
    chosen = indices.index(row) if row else None

    def readers(then: shell.View) -> tuple[PinnedCheckpoint, ...]:
        return tuple(one for one in then.pair if one.facts.replies)

    def flipped(then: shell.View, found: list[probes.Result]) -> dict[str, Any]:
        return {
            f"flips-{'chosen' if one == then.checkpoint else 'reference'}": flips.reviews(
                result, labels, sample.text, view.words, one.label, reading, chosen
            )
            for one, result in zip(readers(then), found, strict=True)
        }

    drawn = film.over_epochs(view, lambda then: _asked(then, readers(then)), results, flipped)
    asked = [request.query for request in requests]
    picture.show(
        view,
        drawn,
        flips.REVIEWS_GUIDE,
        lambda: [
            one
            for query, result in zip(asked, results, strict=True)
            for one in result.review_rows(query, reading, sample.index)
        ],
        None,
        {key: address.picked(key, "review", indices) for key in drawn},
    )
    if chosen is not None:
        _review(view, asked, results, reading, chosen)


def _review(
    view: shell.View, asked: list[probes.Query], results: list[probes.Result], reading: probes.Reading, chosen: int
) -> None:
    """Show the chosen review in full, and its logit difference at every layer."""
    sample = view.study.sample
    with st.container(border=True):
        word = view.words[int(sample.label[chosen])]
        st.markdown(f"**Text {sample.index[chosen]}**, labelled *{plain(word)}*")
        st.text(sample.text[chosen])
        names = [query.checkpoint.label for query in asked]
        places = [view.place(query.checkpoint) for query in asked]
        drawn = flips.review(results, names, places, len(view.names), view.words, reading, chosen, _class(view))
        picture.show(
            view,
            {"flip-curve": drawn},
            flips.REVIEW_GUIDE,
            lambda: [
                one
                for query, result in zip(asked, results, strict=True)
                for one in result.review_rows(query, reading, sample.index, chosen)
            ],
            None,
        )


if __name__ == "__main__":
    shell.page(draw)
