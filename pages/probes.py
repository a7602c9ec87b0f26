"""Where the decision becomes readable: heads and linear probes at every layer, and which parts write the answer."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import inherited, linear_probes, probes
from backend.caching.memoize import Request
from backend.figures import flips
from backend.figures import linear_probes as linear_figures
from backend.figures import probes as figures
from backend.stats.splits import repeated
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell
from pages.parts import probe_details

TITLE = "Probes"
SHOWN = {
    "curves": "Through a head",
    "reviews": "Which reviews flip",
    "linear": "Linear probes",
    "inherited": "Own or inherited",
    "parts": "Heads and MLPs",
}
HEADS = {"base": "the reference's", "own": "its own"}
NORMS = {"none": "none", "base": "the reference's", "own": "its own", "published": "as published"}


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """The page's keys in the address."""
    return {
        "show": address.Choice(list(SHOWN), "curves"),
        "head": address.Choice(list(HEADS), "own"),
        "norm": address.Choice(list(NORMS), "own"),
        "measure": address.Choice(list(figures.MEASURES), "auc"),
        "fit": address.Choice(list(linear_figures.SHOWN), "accuracy"),
        "scope": address.Choice(list(inherited.SCOPES), "change"),
        "parts": address.Choice(["gap", "change"], "gap"),
        "class": address.Choice(list(study.study.prompt.label_words), study.study.prompt.label_words[-1]),
        "review": address.Choice(["", *map(str, study.sample.index.tolist())], ""),
    }


def draw(view: shell.View) -> None:
    """The page."""
    st.title(plain(f"Probes: {view.reference.label} and {view.checkpoint.label}"))
    for one in view.study.missing:
        st.warning(plain(one.reason))
    shown = view.control(
        st.segmented_control,
        "What to look at",
        "show",
        format_func=SHOWN.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    parts = {
        "curves": _curves,
        "reviews": _reviews,
        "linear": _linear,
        "inherited": probe_details.inherited_share,
        "parts": probe_details.parts,
    }
    parts[shown](view)


def _asked(view: shell.View, checkpoints: tuple[PinnedCheckpoint, ...]) -> list[Request[probes.Result]]:
    """What to ask for the readings of the checkpoints."""
    return [probes.recipe.request(probes.Query(one, view.reference, view.study.prompts)) for one in checkpoints]


def _readers(view: shell.View) -> tuple[PinnedCheckpoint, ...]:
    """Those of reference and chosen checkpoint that have a head; none, and a sentence, if neither has."""
    found = tuple(one for one in view.pair if one.facts.has_head)
    if found:
        picture.without_head(view.pair)
        return found
    st.info(
        f"{plain(view.checkpoint.label)} is {view.checkpoint.facts.headless}, so its head reads no layer; "
        "choose an epoch that has one, or look at the linear probes."
    )
    return ()


def _reading(view: shell.View) -> probes.Reading | None:
    """The controls of what reads, and the reading that they choose; an encoder has no final norm to choose.

    None, and a sentence, where that takes a head that the reference has not.
    """
    published, encoder = view.value("norm") == "published", view.study.base.facts.kind == "encoder"
    fixed = published and not encoder
    view.control(st.segmented_control, "Head", "head", format_func=HEADS.__getitem__, required=True, disabled=fixed)
    norm = "none"
    if not encoder:
        norm = view.control(st.segmented_control, "Final norm", "norm", format_func=NORMS.__getitem__, required=True)
    if not view.reference.facts.has_head and (fixed or view.value("head") == "base"):
        st.info(
            f"{plain(view.reference.label)} is {view.reference.facts.headless}, so it has no head to lend; "
            "choose “its own”, or under “Compared with” a checkpoint that has one."
        )
        return None
    return probes.AS_PUBLISHED if fixed else (view.value("head"), norm)


def _class(view: shell.View) -> int:
    return view.words.index(view.value("class"))


def _rows(wanted: list[Request[probes.Result]], found: list[probes.Result], reading: probes.Reading) -> picture.Rows:
    """The rows of one reading."""
    return lambda: [
        row
        for request, one in zip(wanted, found, strict=True)
        for row in one.rows_of(request.query, one.readings[one.place(*reading)])
    ]


@shell.section
def _curves(view: shell.View) -> None:
    """Every layer through a head: curves of reference and checkpoint, and all checkpoints."""
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
    wanted = _asked(view, answering)
    found = view.results(wanted, "Reading every layer")
    if found is None:
        return
    names, places, c = [one.label for one in shown], [view.place(one) for one in shown], _class(view)
    at = [answering.index(one) for one in shown]
    pictured = [found[i] for i in at]
    picture.show(
        view,
        {"probe-curves": figures.curves(pictured, names, places, len(view.names), view.words, reading, measure, c)},
        figures.curves_guide(reading),
        _rows([wanted[i] for i in at], pictured, reading),
        "probes",
    )
    st.markdown(figures.leaves_chance(pictured, [plain(name) for name in names], reading))
    if view.study.base.facts.kind == "causal":
        last, query = found[at[-1]], wanted[at[-1]].query
        picture.show(
            view,
            {"probe-readings": figures.readings(last, names[-1], view.reference.label, view.words, measure, c)},
            figures.readings_guide(view.reference.facts.has_head),
            lambda: [row for one in last.readings for row in last.rows_of(query, one)],
            "probes",
        )
    picture.show(
        view,
        {"probe-heat": figures.heatmap(found, [one.label for one in answering], view.words, reading, measure, c)},
        figures.HEATMAP_GUIDE,
        _rows(wanted, found, reading),
        "probes",
    )


@shell.section
def _reviews(view: shell.View) -> None:
    """Review x layer, and the chosen review."""
    st.subheader("Which reviews flip at which layer?")
    shown = _readers(view)
    if not shown:
        return
    with st.container(horizontal=True):
        reading = _reading(view)
    if reading is None:
        return
    wanted = _asked(view, shown)
    found = view.results(wanted, "Reading every layer")
    if found is None:
        return
    sample, labels = view.study.sample, view.study.prompts.labels
    indices = [str(index) for index in sample.index.tolist()]
    row = view.value("review")
    chosen = indices.index(row) if row else None
    drawn = {
        f"flips-{view.place(one)}": flips.reviews(result, labels, sample.text, view.words, one.label, reading, chosen)
        for one, result in zip(shown, found, strict=True)
    }
    asked = [request.query for request in wanted]
    picture.show(
        view,
        drawn,
        flips.REVIEWS_GUIDE,
        lambda: [
            one
            for query, result in zip(asked, found, strict=True)
            for one in result.review_rows(query, reading, sample.index)
        ],
        None,
        {key: address.picked(key, "review", indices) for key in drawn},
    )
    if chosen is not None:
        _review(view, asked, found, reading, chosen)


def _review(
    view: shell.View, asked: list[probes.Query], found: list[probes.Result], reading: probes.Reading, chosen: int
) -> None:
    """The chosen review in full, and its logit difference at every layer."""
    sample = view.study.sample
    with st.container(border=True):
        word = view.words[int(sample.label[chosen])]
        st.markdown(f"**Review {sample.index[chosen]}**, labelled *{plain(word)}*")
        st.text(sample.text[chosen])
        names = [query.checkpoint.label for query in asked]
        places = [view.place(query.checkpoint) for query in asked]
        drawn = flips.review(found, names, places, len(view.names), view.words, reading, chosen, _class(view))
        picture.show(
            view,
            {"flip-curve": drawn},
            flips.REVIEW_GUIDE,
            lambda: [
                one
                for query, result in zip(asked, found, strict=True)
                for one in result.review_rows(query, reading, sample.index, chosen)
            ],
            None,
        )


@shell.section
def _linear(view: shell.View) -> None:
    """Linear probes beside their baselines, and transferred."""
    st.subheader("Is the class in the residuals at all, whatever reads them?")

    def said(fit: Any) -> str:
        return linear_figures.title(fit, view.reference.label)

    fit: Any = view.control(st.segmented_control, "Probes", "fit", format_func=said, required=True)
    wanted = [
        linear_probes.recipe.request(linear_probes.Query(one, view.reference, view.study.prompts))
        for one in view.study.checkpoints
    ]
    found = view.results(wanted, "Fitting linear probes")
    if found is None:
        return
    prompts = view.study.prompts
    if copied := linear_figures.copies(repeated(prompts.groups), len(prompts.token_ids)):
        st.markdown(copied)
    names, places = [one.label for one in view.pair], [view.place(one) for one in view.pair]
    pictured, classes = [found[place] for place in places], len(view.words)
    picture.show(
        view,
        {
            "linear-curves": linear_figures.curves(
                pictured, names, places, len(view.names), classes, fit, view.reference.label
            )
        },
        linear_figures.CURVES_GUIDE,
        picture.rows([wanted[place] for place in places], pictured),
        "linear_probes",
    )
    picture.show(
        view,
        {"linear-heat": linear_figures.heatmap(found, view.names, classes, fit, view.reference.label)},
        linear_figures.HEATMAP_GUIDE,
        picture.rows(wanted, found),
        "linear_probes",
    )


if __name__ == "__main__":
    shell.page(draw)
