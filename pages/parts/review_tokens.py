"""Draw what each token of the user's text holds, layer by layer, in reference and chosen checkpoint."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import review
from backend.caching.memoize import Request
from backend.figures import review_tokens as token_figures
from backend.study.typed_texts import Typed
from pages.frame import film, needs, picture, shell
from pages.parts import feature_details

HEATS = {**token_figures.HEATS, "feature": "A feature"}


@shell.section
def draw(view: shell.View, typed: Typed, direction: int) -> None:
    """Draw token x layer, coloured by what the address names, for one `direction` of the classes."""
    st.subheader("What does each token hold, layer by layer?")
    heat: Any = view.control(st.segmented_control, "Colour", "heat", format_func=HEATS.__getitem__, required=True)
    if heat == "feature":
        feature_details.typed(view, typed)
        return
    reason = token_figures.undefined(heat, [checkpoint.facts for checkpoint in view.pair])
    if reason or (heat == "projection" and needs.lacks(view, "classes", "The projection onto the class direction")):
        if reason:
            st.info(reason)
        return

    more = (view.reference, typed.prompts, view.study.prompts, view.drop_largest)

    def asked(then: shell.View) -> list[Request[review.Tokens]]:
        reads = {"logit_diff": lambda one: one.facts.replies, "next": lambda one: one.facts.predicts}
        return [review.tokens.request(review.Query(one, *more)) for one in then.pair if reads.get(heat, bool)(one)]

    def drawn(then: shell.View, found: list[review.Tokens]) -> dict[str, Any]:
        names = [request.query.checkpoint.label for request in asked(then)]
        figure = token_figures.tokens(found, names, typed.pieces, heat, view.words, direction)
        return {"review-tokens": figure}

    queries = [request.query for request in asked(view)]
    results = view.results(asked(view), "Reading every token at every layer")
    if results is None:
        return
    if heat == "logit_diff":
        picture.without_head(view.pair)
        if not typed.prompts.single:
            st.caption("The label words have several tokens. Each cell compares the probabilities of the whole words.")
    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        token_figures.TOKENS_GUIDE,
        lambda: [
            row for query, result in zip(queries, results, strict=True) for row in result.rows(query, typed.pieces)
        ],
        None,
    )
