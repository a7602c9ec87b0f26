"""Draw how well the layers hold the order of a label: all checkpoints at once, and curves of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from backend.analyses import ordered
from backend.caching.memoize import Request
from backend.figures import ordered as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.vocabulary.markdown import plain
from pages.frame import picture, shell


def heat(view: shell.View, clicks: Mapping[str, Callable[[], None]], row: int = 34) -> None:
    """Say which layer orders the texts best, and draw checkpoint x layer in rows of that height.

    `clicks` are callbacks by the picture's key, "ordered-heat".
    """
    requests = _requests(view, view.study.checkpoints)
    results = view.results(requests, "Regressing the label on every layer")
    if results is None:
        return
    st.markdown(figures.in_words(results[view.place(view.checkpoint)], plain(view.checkpoint.label)))
    drawn = {"ordered-heat": figures.heatmap(results, view.names, row)}
    picture.show(view, drawn, figures.LEAD_GUIDE, picture.rows(requests, results), "ordered", clicks)


def curves(view: shell.View) -> None:
    """Draw the correlation by layer of reference and checkpoint."""
    st.subheader("How well does each layer hold the order of the label?")
    requests = _requests(view, view.pair)
    results = view.results(requests, "Regressing the label on every layer")
    if results is None:
        return
    names, places = [one.label for one in view.pair], [view.place(one) for one in view.pair]
    drawn = {"ordered-curves": figures.curves(results, names, places, len(view.names))}
    picture.show(view, drawn, figures.CURVES_GUIDE, picture.rows(requests, results), "ordered")


def _requests(view: shell.View, checkpoints: Sequence[PinnedCheckpoint]) -> list[Request[ordered.Result]]:
    values, prompts = view.study.sample.values, view.study.prompts
    return [
        ordered.recipe.request(ordered.Query(one, view.reference, prompts, values, view.drop_largest))
        for one in checkpoints
    ]
