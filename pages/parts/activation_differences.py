"""Draw the mean change of the residual stream: all checkpoints, one checkpoint by layer, its tokens, and steering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from backend.analyses import activation_differences as analysis
from backend.caching.memoize import Request
from backend.derived.model_differences import PLACES
from backend.derived.texts import text_sets
from backend.figures import activation_differences as figures
from backend.figures.style import theme
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, film, picture, shell
from pages.parts import seed_floor


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the part's keys in the address."""
    layers = [str(layer) for layer in range(study.base.facts.layers + 1)]
    return {
        "texts": address.Choice(list(text_sets(study)), text_sets(study)[0]),
        "place": address.Choice(list(PLACES), "all"),
        "at": address.Choice(layers, layers[-1]),
    }


def others(view: shell.View) -> list[PinnedCheckpoint]:
    """Return the checkpoints that can be subtracted from, token by token."""
    every = [one for one in view.study.checkpoints if one != view.reference]
    return [one for one in every if view.study.same_ids(one, view.reference)]


def text_set(view: shell.View) -> str:
    """Show the choice of texts; return it."""
    return view.control(st.segmented_control, "Read", "texts", format_func=figures.TEXT_SETS.__getitem__, required=True)


def _requests(view: shell.View, shown: list[PinnedCheckpoint], texts: str) -> list[Request[analysis.Result]]:
    asked = [analysis.query(view.study, one, view.reference, texts) for one in shown]
    return [analysis.recipe.request(query) for query in asked]


@shell.section
def overview(view: shell.View) -> None:
    """Say where the mean residual moved most, and draw it over layers and checkpoints; a click chooses both."""
    texts, place = view.value("texts"), view.value("place")
    if lead(view, texts, place, lambda epoch, layer: st.query_params.update(epoch=epoch, at=layer)):
        with st.container(horizontal=True):
            text_set(view)
            view.control(st.segmented_control, "Where", "place", format_func=_place, required=True)


def lead(view: shell.View, texts: str, place: str, choose: Callable[[str, str], None]) -> bool:
    """Draw the first picture, where `choose` gets epoch and layer of a click; return whether it is there."""
    shown = others(view)
    if len(view.study.checkpoints) < 2:
        st.info("There is no other checkpoint to compare with. Add one to study.toml.")
        return False
    if not shown:
        st.info("The other checkpoints read other token ids, so they cannot be compared token by token.")
        return False
    requests = _requests(view, shown, texts)
    results = view.results(requests, "Comparing residuals and predictions")
    if results is None:
        return False
    chosen = shown.index(view.checkpoint) if view.checkpoint in shown else len(shown) - 1
    names, at, key = [one.label for one in shown], PLACES.index(place), "activation-overview"
    st.markdown(figures.in_words(results[chosen], plain(names[chosen]), texts, at))

    def clicked() -> None:
        cell = address.clicked_cell(key)
        if cell is not None:
            choose(names[cell[0]], str(cell[1]))

    picture.show(
        view,
        {key: figures.overview(results, names, at, view.reference.label, chosen)},
        figures.GUIDE,
        picture.rows(requests, results),
        "activation_differences",
        {key: clicked},
    )
    return True


def _place(place: str) -> str:
    return "all positions" if place == "all" else place


@shell.section
def details(view: shell.View) -> None:
    """Draw the change of the chosen checkpoint at each layer, and the tokens that it promotes at one of them."""
    st.subheader("What does the change say?")
    if view.checkpoint not in others(view):
        st.info(f"{plain(view.checkpoint.label)} reads other token ids, so it cannot be compared token by token.")
        return
    twins = seed_floor.twins(view)
    requests = _requests(view, [view.checkpoint], view.value("texts")) + [
        analysis.recipe.request(analysis.query(view.study, *pair, view.value("texts"))) for pair in twins
    ]
    results = view.results(requests, "Reading the change as tokens")
    if results is None:
        return
    result, query, label = results[0], requests[0].query, view.checkpoint.label
    seeds = list(zip(seed_floor.names(twins), results[1:], strict=True))
    place = PLACES.index(view.value("place"))
    view.control(st.select_slider, "Layer", "at", width=420)
    layer = int(view.value("at"))

    def asked(then: shell.View) -> list[Request[analysis.Result]] | None:
        return _requests(then, [then.checkpoint], then.value("texts")) if then.checkpoint in others(then) else None

    def curve(then: shell.View, found: list[analysis.Result]) -> dict[str, Any]:
        colour = theme.checkpoint_colour(then.place(then.checkpoint), len(then.names))
        return {"activation-curve": figures.curves(found[0], then.checkpoint.label, place, colour, seeds)}

    def tokens(then: shell.View, found: list[analysis.Result]) -> dict[str, Any]:
        figure = figures.tokens(found[0], then.checkpoint.label, place, layer)
        return {} if figure is None else {"activation-tokens": figure}

    picture.show(
        view,
        film.over_epochs(view, asked, [result], curve),
        figures.CURVE_GUIDE,
        picture.rows(requests, results),
        "activation_differences",
    )
    for pair, floor in zip(twins, results[1:], strict=True):
        st.markdown(figures.beyond_seed(result, floor, place, plain(label), *seed_floor.called(pair)))
    if not twins:
        seed_floor.hint()
    drawn = film.over_epochs(view, asked, [result], tokens)
    if not drawn:
        st.info(
            "These models predict no tokens, so the change cannot be read as tokens."
            if query.lens is None
            else f"At layer {layer} both models have the same mean residual."
        )
        return
    picture.show(
        view,
        drawn,
        figures.tokens_guide(query.lens.label),
        lambda: [*result.token_rows(query, place, layer)],
        None,
    )
