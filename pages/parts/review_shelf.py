"""Offer example reviews of the sample on the Review page."""

from __future__ import annotations

import streamlit as st

from backend.analyses import accuracy
from backend.derived import example_reviews
from backend.vocabulary.markdown import plain
from pages.frame import address, shell

TEXT = address.Text()
EXAMPLES = {
    "first": "The first text of its class in the sample.",
    "typical": "The text of median logit difference towards its own class, averaged over the epochs.",
    "hardest": "The text of lowest logit difference towards its own class, averaged over the epochs.",
    "flipped": "A text whose answer changed most often from one checkpoint to the next.",
}


def draw(view: shell.View) -> None:
    """Offer example reviews of the sample, the same at every epoch; a first visit starts with one."""
    requests = [
        accuracy.recipe.request(accuracy.Query(checkpoint, view.study.prompts)) for checkpoint in view.study.checkpoints
    ]
    shelf = example_reviews.first_examples(view.study.prompts.labels)
    if view.study.answering:
        results = view.results(requests, "Looking for examples")
        if results is None:
            return
        answers = [result.logit_diff for result in results], [result.prediction for result in results]
        shelf = example_reviews.examples(*answers, view.study.prompts.labels)
    elif not view.study.lacks("answers"):
        return
    starts = not view.value("text") and not st.session_state.get("_started")
    st.session_state["_started"] = True
    if starts and shelf:
        example = next((one for one in shelf if one.label == len(view.words) - 1), shelf[0])
        address.write_text("text", TEXT, view.study.sample.text[example.review])
        st.rerun()
    with st.container(horizontal=True, key="shelf", vertical_alignment="center"):
        st.caption("From the sample:", width="content")
        for i, one in enumerate(shelf):
            st.button(
                f"{one.kind}, {plain(view.words[one.label])}",
                key=f"shelf-{i}",
                help=EXAMPLES[one.kind],
                on_click=address.write_text,
                args=("text", TEXT, view.study.sample.text[one.review]),
            )
