"""Draw gain against price: every checkpoint, every block of the chosen one, and a small set that keeps the gain."""

from __future__ import annotations

import streamlit as st

from backend.analyses import side_effects
from backend.figures import side_effects as figures
from backend.figures.style import theme
from backend.vocabulary.markdown import plain
from pages.frame import picture, shell, work
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
    query = side_effects.query(view.study, view.checkpoint, view.reference, by_block=True)
    requests = [side_effects.recipe.request(query)]
    what, offer = "Measuring gain and price by block", "Measure every block, and find a small set"
    results = work.on_demand(requests, view.lab, what, offer, beyond=work.LONG_SECONDS)
    if results is None:
        return
    result, label = results[0], view.checkpoint.label
    colour = theme.checkpoint_colour(view.place(view.checkpoint), len(view.names))
    if result.order:
        st.markdown(figures.kept_in_words(result, query.share))
    chosen = result.smallest(query.share) or ()
    rows = picture.rows(requests, results)
    drawn = {"price-blocks": figures.blocks(result, label, colour, chosen)}
    picture.show(view, drawn, figures.GUIDE, rows, "side_effects")
    if result.order:
        sets = {"price-sets": figures.sets(result, label, query.share)}
        picture.show(view, sets, figures.SETS_GUIDE, rows, "side_effects")
