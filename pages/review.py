"""Show the user's text in every checkpoint: answers, logit difference by layer, tokens, words, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from backend.analyses import patching, review
from backend.caching.memoize import Request
from backend.figures import review as figures
from backend.figures import review_tokens as token_figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.typed_texts import Typed, leave_out, read_typed
from backend.vocabulary.markdown import plain
from pages.frame import address, film, live, needs, painted, picture, shell, work
from pages.parts import feature_choice, review_shelf, review_tokens, steered_text
from pages.parts import patching as patching_part

TEXT = review_shelf.TEXT
MOST_PARTS = 128
SHOWN = {
    "curves": "Heads and norms",
    "words": "Word ablation",
    "patching": "Activation patching",
    "steered": "Steering",
    "nearest": "Nearest texts",
}


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address."""
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    words = study.words
    return {
        "text": TEXT,
        "show": address.Choice(list(SHOWN), "curves"),
        "patched": patching_part.measure(),
        "heat": address.Choice(list(review_tokens.HEATS), _heat(study)),
        **feature_choice.choices(study),
        "layer": address.Choice(layers, layers[-1]),
        "class": address.Choice(list(words), words[-1]),
        **steered_text.choices(study),
    }


def _heat(study: PinnedStudy) -> str:
    """Return the colour that the page starts with: the answer, else the direction, else the next token."""
    return "next" if study.lacks("classes") else "projection" if study.lacks("answers") else "logit_diff"


def draw(view: shell.View) -> None:
    """Draw the page."""
    st.title(plain(f"Review: your text in {view.both}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    above = st.container()
    text = view.value("text")
    work.drop_typed(text)
    typed = _read(view, text) if text.strip() else None
    if typed is not None:
        _verdicts(view, typed, text)
        review_tokens.draw(view, typed, _direction(view))
    with above:  # filled last: the answer comes first
        _box(view, typed, text)
    if typed is not None and painted.already():
        with st.expander("Other readings", expanded=view.value("show") != "curves"):
            _details(view, typed, text)


def _read(view: shell.View, text: str) -> Typed:
    return read_typed(view.study.readers, text)


def _box(view: shell.View, typed: Typed | None, text: str) -> None:
    """Show the box for a text, the examples, and what was truncated."""
    address.text_box("Your text", "text", TEXT, height=90, placeholder="Type or paste a text …")
    live.typing("text")
    review_shelf.draw(view)
    if typed is None:
        st.info("Type a text, or choose an example from the sample.")
        return
    if len(text) > TEXT.most:
        st.caption(
            f"The address carries texts of up to {TEXT.most:,} characters. "
            "This text is longer, so only the downloads carry it."
        )
    said = figures.cut(typed, view.study.study.prompt)
    if said:
        st.caption(said)
        with st.expander("Truncated text"):
            st.text(figures.excerpt(typed.cut))


def _query(view: shell.View, typed: Typed, one: PinnedCheckpoint) -> review.Query:
    return review.Query(one, view.reference, typed.prompts, view.study.prompts, view.drop_largest)


def _direction(view: shell.View) -> int:
    """Return the logit difference to show: the only one of two classes, else the chosen class's."""
    return 0 if len(view.words) <= 2 else view.words.index(view.value("class"))


@shell.section
def _verdicts(view: shell.View, typed: Typed, text: str) -> None:
    """Draw the answer of each checkpoint, and the logit difference at each of its layers."""
    if len(view.words) > 2:
        view.control(st.selectbox, "Class against the rest", "class", width=220)
    if view.study.lacks("answers"):
        if not needs.lacks(view, "classes", "The place between the class means"):
            _along(view, typed, text, view.study.checkpoints, "review-along-all")
        return
    queries = [_query(view, typed, checkpoint) for checkpoint in view.study.answering]
    results = view.results([review.recipe.request(query) for query in queries], "Reading the text")
    picture.without_head(view.study.checkpoints)
    if not results:
        return
    names = [query.checkpoint.label for query in queries]
    picture.show(
        view,
        {
            "review-answers": figures.probabilities(results, names, view.words),
            "review-layers": figures.layers(results, names, view.words, _direction(view)),
        },
        figures.ANSWERED_GUIDE,
        lambda: [
            {**row, "text": text}
            for query, result in zip(queries, results, strict=True)
            for row in (*result.answers(query), *result.rows(query))
        ],
        None,
    )


@shell.section
def _details(view: shell.View, typed: Typed, text: str) -> None:
    """Draw the chosen detail; only that is computed."""
    shown = view.control(
        st.segmented_control,
        "Details",
        "show",
        format_func=SHOWN.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    if shown == "steered":
        steered_text.show(view, typed, _direction(view))
        return
    if shown == "curves":
        _curves(view, typed, text)
        return
    {"words": _words, "patching": _patched, "nearest": _nearest}[shown](view, typed)


def _along(view: shell.View, typed: Typed, text: str, models: Sequence[PinnedCheckpoint], key: str) -> None:
    """Draw the place of the text between the class means, layer by layer; `key` names the picture."""
    queries = [_query(view, typed, checkpoint) for checkpoint in models]
    results = view.results([review.recipe.request(query) for query in queries], "Reading the text")
    if results is None:
        return
    names, places = [checkpoint.label for checkpoint in models], [view.place(checkpoint) for checkpoint in models]
    drawn = figures.places(results, names, places, len(view.names), view.words, _direction(view))
    picture.show(
        view,
        {key: drawn},
        figures.ALONG_GUIDE,
        lambda: [
            {**row, "text": text} for query, result in zip(queries, results, strict=True) for row in result.rows(query)
        ],
        None,
    )


def _curves(view: shell.View, typed: Typed, text: str) -> None:
    if view.study.lacks("answers"):
        if not needs.lacks(view, "classes", "The place between the class means"):
            _along(view, typed, text, view.pair, "review-along-pair")
        return
    models = [one for one in view.study.checkpoints if one in view.study.answering or one in view.pair]
    queries = [_query(view, typed, checkpoint) for checkpoint in models]
    results = view.results([review.recipe.request(query) for query in queries], "Reading it through every head")
    if results is None:
        return
    every = (results, [one.label for one in models], [view.place(one) for one in models])
    more, ends = (len(view.names), view.words, _direction(view)), (view.checkpoint.label, view.reference.label)

    def asked(then: shell.View) -> list[Request[review.Result]]:
        return [review.recipe.request(_query(then, typed, one)) for one in then.pair]

    def drawn(then: shell.View, found: list[review.Result]) -> dict[str, Any]:
        names, places = [one.label for one in then.pair], [then.place(one) for one in then.pair]
        return {"review-logit-diff": figures.curves(found, names, places, *more)}

    pair = [results[models.index(one)] for one in view.pair]
    picture.show(
        view,
        film.over_epochs(view, asked, pair, drawn) | {"review-place": figures.places(*every, *more, ends)},
        figures.GUIDE,
        lambda: [
            {**row, "text": text} for query, result in zip(queries, results, strict=True) for row in result.rows(query)
        ],
        None,
    )


def _words(view: shell.View, typed: Typed) -> None:
    st.subheader("What does each word add?")
    texts, parts = leave_out(view.study.readers, typed.parts, MOST_PARTS)
    if not parts:
        st.info("Truncation removed the whole text, so there are no words to ablate.")
        return
    if needs.lacks(view, "answers", "Word ablation"):
        return

    def asked(then: shell.View) -> list[Request[review.Parts]]:
        return [review.parts.request(review.PartsQuery(one, texts)) for one in then.pair if one.facts.replies]

    picture.without_head(view.pair)
    queries = [request.query for request in asked(view)]
    if not queries:
        return
    layer = int(view.control(st.select_slider, "Layer", "layer"))
    results = view.results(asked(view), "Ablating the words")
    if results is None:
        return

    def drawn(then: shell.View, found: list[review.Parts]) -> dict[str, Any]:
        names = [request.query.checkpoint.label for request in asked(then)]
        each = token_figures.parts(found, names, parts, layer, view.words, _direction(view))
        return {f"review-words-{i}": figure for i, figure in enumerate(each)}

    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        token_figures.parts_guide(parts),
        lambda: [row for query, result in zip(queries, results, strict=True) for row in result.rows(query, parts)],
        None,
    )


def _patched(view: shell.View, typed: Typed) -> None:
    st.subheader("At which tokens do the two models differ?")
    patching_part.show(view, patching.typed, typed, lambda then: (then.reference, then.checkpoint), _direction(view))


def _nearest(view: shell.View, typed: Typed) -> None:
    st.subheader("Which texts of the sample are most similar?")
    layer = int(view.control(st.select_slider, "Layer", "layer"))
    queries = [_query(view, typed, checkpoint) for checkpoint in view.pair]
    results = view.results([review.recipe.request(query) for query in queries], "Looking for the nearest texts")
    if results is None:
        return
    for checkpoint, result in zip(view.pair, results, strict=True):
        st.markdown(f"**{plain(checkpoint.label)}**, layer {layer}")
        rows = figures.nearest(result, layer, view.study.sample, view.words)
        if not rows:
            st.info(f"Layer {layer} holds no text at the readout position, so there are no neighbours.")
            continue
        picture.table(
            view,
            f"review-nearest-{view.place(checkpoint)}",
            [{key: plain(figures.excerpt(str(value), 400)) for key, value in row.items()} for row in rows],
            figures.NEAREST_GUIDE,
            lambda rows=rows: rows,
            None,
        )


if __name__ == "__main__":
    shell.page(draw)
