"""Draw gain against price: every checkpoint, every block of the chosen one, and a small set that keeps the gain."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import side_effects
from backend.caching.memoize import Request
from backend.figures import side_effects as figures
from backend.figures.style import theme
from backend.vocabulary.markdown import plain
from pages.frame import film, picture, shell, work
from pages.parts import seed_floor
from pages.parts.activation_differences import others


@shell.section
def draw(view: shell.View) -> None:
    """Draw the checkpoints, then the blocks of the chosen one."""
    st.subheader("What was bought at what price?")
    shown = [one for one in others(view) if one.facts.has_head or view.reference.facts.has_head]
    if view.checkpoint not in shown:
        st.info(f"{plain(view.checkpoint.label)} cannot be compared with {plain(view.reference.label)} here.")
        return
    twins = [pair for pair in seed_floor.twins(view) if pair[1].facts.has_head]
    pairs = [(one, view.reference) for one in shown] + twins
    requests = [side_effects.recipe.request(side_effects.query(view.study, *pair)) for pair in pairs]
    found = view.results(requests, "Measuring gain and price")
    if found is None:
        return
    results, floors = found[: len(shown)], found[len(shown) :]
    chosen, label = results[shown.index(view.checkpoint)], view.checkpoint.label
    st.markdown(figures.in_words(chosen, plain(label)))
    for pair, floor in zip(twins, floors, strict=True):
        st.markdown(figures.beyond_seed(floor, *seed_floor.called(pair)))
    if not figures.complete(chosen):
        st.caption("Without classes or without next-token predictions there is no picture of gain against price.")
        return
    names, places = [one.label for one in shown], [view.place(one) for one in shown]
    seeds = list(zip(seed_floor.names(twins), floors, strict=True))
    picture.show(
        view,
        {"price-checkpoints": figures.checkpoints(results, names, places, len(view.names), seeds)},
        figures.GUIDE,
        picture.rows(requests, found),
        "side_effects",
    )
    _blocks(view)


def _blocks(view: shell.View) -> None:
    """Draw the blocks of the chosen checkpoint, and the share of the gain that a few of them keep."""

    def asked(then: shell.View) -> list[Request[side_effects.Result]] | None:
        if then.checkpoint not in others(then):
            return None
        query = side_effects.query(then.study, then.checkpoint, then.reference, by_block=True)
        return [side_effects.recipe.request(query)]

    requests = asked(view) or []
    what, offer = "Measuring gain and price by block", "Measure every block, and find a small set"
    results = work.on_demand(requests, view.lab, what, offer, beyond=work.LONG_SECONDS)
    if results is None:
        return
    result, query = results[0], requests[0].query
    if result.order:
        st.markdown(figures.kept_in_words(result, query.share))
    rows = picture.rows(requests, results)

    def blocks(then: shell.View, found: list[side_effects.Result]) -> dict[str, Any]:
        colour = theme.checkpoint_colour(then.place(then.checkpoint), len(then.names))
        few = found[0].smallest(query.share) or ()
        return {"price-blocks": figures.blocks(found[0], then.checkpoint.label, colour, few)}

    def sets(then: shell.View, found: list[side_effects.Result]) -> dict[str, Any]:
        shown = {"price-sets": figures.sets(found[0], then.checkpoint.label, query.share)}
        return shown if found[0].order else {}

    picture.show(view, film.over_epochs(view, asked, results, blocks), figures.GUIDE, rows, "side_effects")
    if result.order:
        drawn = film.over_epochs(view, asked, results, sets)
        picture.show(view, drawn, figures.SETS_GUIDE, rows, "side_effects")
