"""Draw changed predictions: likelier and rarer tokens, their topics, and one text token by token."""

from __future__ import annotations

import textwrap
from typing import Any

import streamlit as st

from backend.analyses import logit_differences as analysis
from backend.caching.memoize import Request
from backend.derived.texts import contents, text_sets
from backend.figures import logit_differences as figures
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, film, picture, shell
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
    query = _query(view)
    if query is None:
        one = next((one for one in view.pair if not one.facts.predicts), view.checkpoint)
        st.info(f"{plain(one.label)} predicts no tokens, or reads other token ids, so predictions are not compared.")
        return
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

    def asked(then: shell.View) -> list[Request[analysis.Result]] | None:
        return [analysis.recipe.request(one)] if (one := _query(then)) else None

    def drawn(then: shell.View, found: list[analysis.Result]) -> dict[str, Any]:
        name = then.checkpoint.label
        return {f"logit-{way}": figures.tokens(found[0], way, name, results[1:]) for way in analysis.WAYS}

    picture.show(
        view,
        film.over_epochs(view, asked, [result], drawn),
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


def _query(view: shell.View) -> analysis.Query | None:
    """Return the query of the view, or None if its predictions cannot be compared."""
    if view.checkpoint not in activation_differences.others(view) or not all(one.facts.predicts for one in view.pair):
        return None
    return analysis.query(view.study, view.checkpoint, view.reference, view.value("texts"))


def _text(view: shell.View, query: analysis.Query) -> None:
    """Draw the KL of every prediction of a text."""
    read = contents(view.study, query.texts.name)
    view.control(st.selectbox, "Text", "passage", format_func=lambda i: _short(read, int(i)), width=640)
    place = min(int(view.value("passage")), len(read) - 1)

    def asked(then: shell.View) -> list[Request[analysis.Text]] | None:
        one = _query(then)
        return [analysis.text.request(analysis.TextQuery(one.differences, place))] if one else None

    requests = asked(view) or []
    results = view.results(requests, "Reading one text")
    if results is None:
        return
    picture.show(
        view,
        film.over_epochs(
            view,
            asked,
            results,
            lambda then, found: {"logit-text": figures.text_kl(found[0], then.checkpoint.label)},
        ),
        figures.TEXT_GUIDE,
        picture.rows(requests, results),
        None,
    )


def _short(read: tuple[str, ...], i: int) -> str:
    return f"{i + 1}: {textwrap.shorten(read[i], 80, placeholder=' …')}" if i < len(read) else f"{i + 1}: none"
