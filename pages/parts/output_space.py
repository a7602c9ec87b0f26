"""The output space on the Tokens page: every measure by checkpoint, and what the chosen one predicts instead."""

from __future__ import annotations

import textwrap

import streamlit as st

from backend.analyses import output_space
from backend.figures import output_space as figures
from backend.vocabulary import neutral
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell


def choices() -> dict[str, address.Choice]:
    """The keys in the address that the output space adds to the page's."""
    return {"texts": address.Choice(list(output_space.TEXT_SETS), "neutral")}


def draw(view: shell.View) -> None:
    """Both sections, or one sentence for a model that predicts no tokens."""
    silent = next((one for one in view.pair if not one.facts.predicts), None)
    if silent is not None:
        st.info(
            f"{plain(silent.label)} predicts no tokens here, so it has no output space; the other parts of "
            "this page hold for it too."
        )
        return
    _instead(view)
    _measures(view)


@shell.section
def _instead(view: shell.View) -> None:
    """Drill-down: which tokens the chosen checkpoint predicts instead, and where probability went."""
    st.subheader("What is predicted instead")
    text_set = view.control(
        st.segmented_control, "Behind", "texts", format_func=figures.SET_NAMES.__getitem__, required=True
    )
    query = output_space.query(view.study, view.checkpoint, view.reference, text_set)
    found = view.results([output_space.recipe.request(query)], "Comparing predictions")
    if found is None:
        return
    result, label = found[0], view.checkpoint.label
    behind = f"behind {figures.SET_NAMES[text_set]}"
    picture.show(
        view,
        {"output-masses": figures.masses(result, f"{label}: where probability went {behind}")},
        figures.masses_guide(result),
        lambda: [*result.group_rows(query)],
        None,
    )
    names = [plain(name) for name in result.groups]
    st.markdown(figures.where_mass_went(result, text_set, plain(label), names))
    picture.show(
        view,
        {
            "output-likelier": figures.listed(result, True, f"{label}: likelier {behind}"),
            "output-unlikelier": figures.listed(result, False, f"{label}: unlikelier {behind}"),
        },
        figures.LISTED_GUIDE,
        lambda: [*result.token_rows(query)],
        None,
    )


@shell.section
def _measures(view: shell.View) -> None:
    """Every measure by checkpoint, on both sets of texts."""
    st.subheader("All checkpoints")
    wanted = [
        output_space.recipe.request(output_space.query(view.study, one, view.reference, text_set))
        for text_set in output_space.TEXT_SETS
        for one in view.study.predicting
    ]
    found = view.results(wanted, "Comparing the predictions of all checkpoints")
    if found is None:
        return
    by_set = {
        text_set: [one for request, one in zip(wanted, found, strict=True) if request.query.text_set == text_set]
        for text_set in output_space.TEXT_SETS
    }
    names = [one.label for one in view.study.predicting]
    at = view.study.predicting.index(view.checkpoint)
    for guide, measures in figures.PICTURES:
        picture.show(
            view,
            {f"output-{measure}": figures.draw(by_set, names, measure) for measure in measures},
            guide,
            picture.rows(wanted, found),
            "output_space",
        )
        if "perplexity" in measures:
            _outliers(view, {text_set: results[at] for text_set, results in by_set.items()})


def _outliers(view: shell.View, results: dict[str, output_space.Result]) -> None:
    """Which summary one text carries, for the chosen checkpoint."""
    texts = {"neutral": neutral.sentences(), "sample": view.study.sample.text}
    lines = []
    for text_set, result in results.items():
        place = figures.largest(result)
        quote = "" if place is None else textwrap.shorten(texts[text_set][place], 90, placeholder=" …")
        lines.append(figures.outlier(result, text_set, plain(view.checkpoint.label), plain(quote)))
    st.markdown("\n".join(f"- {line}" for line in lines))
