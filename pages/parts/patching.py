"""Draw activation patching on one text: a review of the sample (Swaps) or the user's text (Review)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from backend.analyses import patching
from backend.figures import patching as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import Typed, read_typed
from backend.vocabulary.markdown import plain
from pages.frame import address, film, needs, picture, shell, work

Pair = tuple[PinnedCheckpoint, PinnedCheckpoint]
"""Host and donor."""
BEGINNING = 60
"""Characters of a review in the list to choose from."""


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the keys in the address of the page that shows reviews of the sample."""
    rows = [str(row) for row in study.sample.index.tolist()]
    words = study.words
    return {
        "patched": measure(),
        "review": address.Choice(rows, rows[0]),
        "class": address.Choice(list(words), words[-1]),
    }


def measure() -> address.Choice:
    """Return the choice of the coloured measure."""
    return address.Choice(list(figures.MEASURES), "fraction_recovered")


@shell.section
def review(view: shell.View, ends_of: Callable[[shell.View], Pair]) -> None:
    """Draw a review of the sample; its results are kept in the cache."""
    sample = view.study.sample
    rows = [str(row) for row in sample.index.tolist()]

    def sentence(row: str) -> str:
        chosen = rows.index(row)
        word = view.words[int(sample.label[chosen])]
        return f"{row}, {word}: {' '.join(sample.text[chosen].split())[:BEGINNING]} …"

    with st.container(horizontal=True):
        view.control(st.selectbox, "Text of the sample", "review", format_func=sentence, width=520)
        if len(view.words) > 2:
            view.control(st.selectbox, "Class against the rest", "class", width=220)
    chosen = rows.index(view.value("review"))
    read = read_typed(view.study.readers, sample.text[chosen])
    at = 0 if len(view.words) == 2 else view.words.index(view.value("class"))
    show(view, patching.recipe, read, ends_of, at)


def show(view: shell.View, recipe: Any, read: Typed, ends_of: Callable[[shell.View], Pair], at: int) -> None:
    """Draw the text with each model's residuals in the other, if the other has a head."""
    ends = ends_of(view)
    if needs.lacks(view, "answers", "Activation patching"):
        return
    chosen: Any = view.control(
        st.segmented_control, "Colour", "patched", format_func=figures.MEASURES.__getitem__, required=True
    )

    def asked(then: shell.View) -> list[Any]:
        host, donor = ends_of(then)
        queries = [patching.Query(host, donor, read.prompts), patching.Query(donor, host, read.prompts)]
        return [recipe.request(query) for query in queries if query.host.facts.replies]

    requests = asked(view)
    queries = [request.query for request in requests]
    if not queries or ends[0] == ends[1]:
        st.info("Patching needs two different models, one of them with a head. Choose another epoch.")
        return
    what, offer = "Activation patching", "Patch every residual"
    results = work.on_demand(requests, view.lab, what, offer, beyond=work.LONG_SECONDS)
    if results is None:
        return
    if chosen == "fraction_recovered" and not all(query.donor.facts.replies for query in queries):
        chosen = "moved"  # of the only direction that is left

    def drawn(then: shell.View, found: list[patching.Result]) -> dict[str, Any]:
        names = [f"{one.query.donor.label} into {one.query.host.label}" for one in asked(then)]
        return {"patching": figures.draw(found, names, read.pieces, chosen, view.words, at)}

    picture.show(
        view,
        film.over_epochs(view, lambda then: asked(then) if len({*ends_of(then)}) > 1 else None, results, drawn),
        figures.GUIDE,
        lambda: [
            row for query, result in zip(queries, results, strict=True) for row in result.rows(query, read.pieces)
        ],
        None,
    )
    _in_words(queries, results, read, at)


def _in_words(queries: Sequence[patching.Query], results: Sequence[patching.Result], read: Typed, at: int) -> None:
    readout = 0 if read.prompts.readout == "first" else len(read.pieces) - 1
    for query, result in zip(queries, results, strict=True):
        sentence = figures.in_words(result, read.pieces, query.host.label, query.donor.label, readout, at)
        st.markdown(plain(sentence))
