"""Draw changed predictions: likelier and rarer tokens, their topics, and one text token by token."""

from __future__ import annotations

import textwrap
from typing import Any

import streamlit as st

from backend.analyses import logit_differences as analysis
from backend.derived.texts import contents, text_sets
from backend.figures import logit_differences as figures
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell
from pages.parts import activation_differences, seed_floor


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the part's keys in the address; a text is named by its place among the texts."""
    most = max(len(contents(study, name)) for name in text_sets(study))
    return {
        "way": address.Choice(list(figures.NAMES), "likelier"),
        "passage": address.Choice([str(i) for i in range(most)], "0"),
    }


@shell.section
def draw(view: shell.View) -> None:
    """Draw the tokens and topics of the chosen checkpoint, then one text."""
    st.subheader("Which predictions changed, and where?")
    silent = next((one for one in view.pair if not one.facts.predicts), None)
    if silent is not None or view.checkpoint not in activation_differences.others(view):
        one = silent or view.checkpoint
        st.info(f"{plain(one.label)} predicts no tokens, or reads other token ids, so predictions are not compared.")
        return
    query = analysis.query(view.study, view.checkpoint, view.reference, view.value("texts"))
    twins = [pair for pair in seed_floor.twins(view) if all(one.facts.predicts for one in pair)]
    floors = [analysis.query(view.study, *pair, view.value("texts")) for pair in twins]
    requests = [analysis.recipe.request(one) for one in (query, *floors)]
    results = view.results(requests, "Grouping changed predictions")
    if results is None:
        return
    result, label = results[0], view.checkpoint.label
    st.markdown(figures.in_words(result, plain(label)))
    for pair, floor in zip(twins, results[1:], strict=True):
        st.markdown(figures.beyond_seed(result, floor, plain(label), *seed_floor.called(pair)))
    picture.show(
        view,
        {f"logit-{way}": figures.tokens(result, way, label, results[1:]) for way in analysis.WAYS},
        figures.GUIDE,
        picture.rows(requests, results),
        "logit_differences",
    )
    _text(view, query)
    with st.expander("Topics of the tokens that changed", expanded=view.value("way") != "likelier"):
        way: Any = view.control(st.segmented_control, "Topics that became", "way", required=True)
        rows = [{key: plain(value) for key, value in row.items()} for row in figures.topics(result, way)]
        if rows:
            picture.table(view, "logit-topics", rows, figures.TOPICS_GUIDE, lambda: [*result.topic_rows(query)], None)
        else:
            st.info("Too few predictions changed to form topics.")


def _text(view: shell.View, query: analysis.Query) -> None:
    """Draw the KL of every prediction of a text."""
    read = contents(view.study, query.texts.name)
    view.control(st.selectbox, "Text", "passage", format_func=lambda i: _short(read, int(i)), width=640)
    asked = analysis.TextQuery(query.differences, min(int(view.value("passage")), len(read) - 1))
    requests = [analysis.text.request(asked)]
    results = view.results(requests, "Reading one text")
    if results is None:
        return
    picture.show(
        view,
        {"logit-text": figures.text_kl(results[0], view.checkpoint.label)},
        figures.TEXT_GUIDE,
        picture.rows(requests, results),
        None,
    )


def _short(read: tuple[str, ...], i: int) -> str:
    return f"{i + 1}: {textwrap.shorten(read[i], 80, placeholder=' …')}" if i < len(read) else f"{i + 1}: none"
