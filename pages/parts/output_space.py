"""Draw the output space: every measure by checkpoint, and the changed predictions of the chosen checkpoint."""

from __future__ import annotations

import textwrap
from typing import Any

import streamlit as st

from backend.analyses import output_space
from backend.caching.memoize import Request
from backend.figures import output_space as figures
from backend.study.pinned import PinnedStudy
from backend.vocabulary import neutral
from backend.vocabulary.markdown import plain
from pages.frame import address, film, picture, shell
from pages.parts import steps


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the keys that the output space adds to the page's address."""
    return {"texts": address.Choice(list(output_space.TEXT_SETS), "neutral"), **steps.choices(study)}


def draw(view: shell.View) -> None:
    """Draw both sections, or a message for a model that predicts no tokens."""
    silent = next((checkpoint for checkpoint in view.pair if not checkpoint.facts.predicts), None)
    if silent is not None:
        st.info(
            f"{plain(silent.label)} predicts no tokens, so it has no output space. The other parts of "
            "this page apply to it too."
        )
        return
    _instead(view)
    _measures(view)


@shell.section
def _instead(view: shell.View) -> None:
    """Draw which tokens the chosen checkpoint predicts instead, and which groups gained or lost probability."""
    st.subheader("Which predictions changed?")
    text_set = view.control(
        st.segmented_control, "Predictions after", "texts", format_func=figures.SET_NAMES.__getitem__, required=True
    )

    def asked(then: shell.View) -> list[Request[output_space.Result]]:
        return [output_space.recipe.request(output_space.query(then.study, then.checkpoint, then.reference, text_set))]

    after = f"after {figures.SET_NAMES[text_set]}"

    def masses(then: shell.View, found: list[output_space.Result]) -> dict[str, Any]:
        return {"output-masses": figures.masses(found[0], f"{then.checkpoint.label}: probability by group {after}")}

    def listed(then: shell.View, found: list[output_space.Result]) -> dict[str, Any]:
        label = then.checkpoint.label
        return {
            "output-likelier": figures.listed(found[0], True, f"{label}: likelier {after}"),
            "output-unlikelier": figures.listed(found[0], False, f"{label}: less likely {after}"),
        }

    requests = asked(view)
    results = view.results(requests, "Comparing predictions")
    if results is None:
        return
    result, query, label = results[0], requests[0].query, view.checkpoint.label
    picture.show(
        view,
        film.over_epochs(view, asked, results, masses),
        figures.masses_guide(result),
        lambda: [*result.group_rows(query)],
        None,
    )
    names = [plain(name) for name in result.groups]
    st.markdown(figures.where_mass_went(result, text_set, plain(label), names))
    picture.show(
        view,
        film.over_epochs(view, asked, results, listed),
        figures.LISTED_GUIDE,
        lambda: [*result.token_rows(query)],
        None,
    )


@shell.section
def _measures(view: shell.View) -> None:
    """Draw every measure by checkpoint, on both sets of texts."""
    st.subheader("All checkpoints")
    requests = [
        output_space.recipe.request(output_space.query(view.study, checkpoint, view.reference, text_set))
        for text_set in output_space.TEXT_SETS
        for checkpoint in view.study.predicting
    ]
    found = view.results(requests, "Comparing the predictions of all checkpoints")
    if found is None:
        return
    by_set = {
        text_set: [
            result for request, result in zip(requests, found, strict=True) if request.query.text_set == text_set
        ]
        for text_set in output_space.TEXT_SETS
    }
    axis = steps.axis(view, view.study.predicting)
    steps.control(view)
    at = view.study.predicting.index(view.checkpoint)
    for guide, measures in figures.PICTURES:
        picture.show(
            view,
            {f"output-{measure}": figures.draw(by_set, axis, measure) for measure in measures},
            guide,
            picture.rows(requests, found),
            "output_space",
        )
        if "perplexity" in measures:
            _outliers(view, {text_set: results[at] for text_set, results in by_set.items()})


def _outliers(view: shell.View, results: dict[str, output_space.Result]) -> None:
    """Say which summary one text dominates, for the chosen checkpoint."""
    texts = {"neutral": neutral.sentences(), "sample": view.study.sample.text}
    lines = []
    for text_set, result in results.items():
        place = figures.largest(result)
        quote = "" if place is None else textwrap.shorten(texts[text_set][place], 90, placeholder=" …")
        lines.append(figures.outlier(result, text_set, plain(view.checkpoint.label), plain(quote)))
    st.markdown("\n".join(f"- {line}" for line in lines))
