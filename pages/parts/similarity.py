"""Similarity on the Layers page: curves and when layers moved, layer by layer, kinds of layers, other measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from backend.analyses import cka_grid, geometry, linear_probes, similarity, unembedding
from backend.caching.memoize import Request
from backend.figures import cka_grid as grid_figures
from backend.figures import geometry as geometry_figures
from backend.figures import layer_roles as roles_figures
from backend.figures import similarity as figures
from backend.figures import unembedding as unembedding_figures
from backend.stats import layer_roles
from backend.study.checkpoint import PinnedCheckpoint
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell, work

PARTS = {
    "curves": "Each layer",
    "grid": "Layer × layer",
    "roles": "General or task-specific",
    "distances": "Distances",
    "unembedding": "Unembedding",
}


def choices() -> dict[str, address.Choice]:
    """The keys in the address."""
    return {
        "similarity": address.Choice(list(PARTS), "curves"),
        "measure": address.Choice(list(figures.NAMES), "cka"),
        "level": address.Choice(list(figures.LEVELS), "0.9"),
    }


def draw(view: shell.View) -> None:
    """One part of it."""
    st.subheader(f"How like {plain(view.reference.label)} is each layer still?")
    part = view.control(
        st.segmented_control,
        "Similarity",
        "similarity",
        format_func=PARTS.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    if part == "grid":
        _grid(view)
    elif not _others(view):
        st.info("There is no other checkpoint to compare with; add one to study.toml.")
    else:
        {"curves": _curves, "roles": _roles, "distances": _distances, "unembedding": _unembedding}[part](view)


def _others(view: shell.View) -> list[PinnedCheckpoint]:
    """The epochs but the reference, and the chosen checkpoint if it is one of another seed."""
    others = [one for one in view.study.epochs if one != view.reference]
    return others + ([view.checkpoint] if view.checkpoint not in (*others, view.reference) else [])


def _asked(view: shell.View, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint) -> Request[similarity.Result]:
    return similarity.recipe.request(similarity.Query(checkpoint, reference, view.study.prompts, view.drop_largest))


def _level(view: shell.View) -> float:
    return float(view.control(st.segmented_control, "Level", "level", required=True))


def _plain(one: PinnedCheckpoint) -> str:
    return plain(one.label)


def _curves(view: shell.View) -> None:
    with st.container(horizontal=True):
        measure: Any = view.control(
            st.segmented_control, "Measure", "measure", format_func=figures.NAMES.__getitem__, required=True
        )
        level = _level(view)
    others, seeds = _others(view), view.study.seeds
    wanted = [_asked(view, one, view.reference) for one in others]
    floors = [_asked(view, one, twin) for one, twin in seeds]
    found = view.results(wanted + floors, "Comparing the layers")
    if found is None:
        return
    results, of_seeds = found[: len(others)], found[len(others) :]
    names, places = [one.label for one in others], [view.place(one) for one in others]
    chosen = others.index(view.checkpoint) if view.checkpoint in others else len(others) - 1
    said = [f"floor: {one.label} and {twin.label}, two seeds" for one, twin in seeds]
    picture.show(
        view,
        {
            f"similarity-{measure}": figures.curves(
                results,
                names,
                places,
                len(view.names),
                measure,
                view.reference.label,
                chosen,
                list(zip(said, of_seeds, strict=True)),
            )
        },
        figures.GUIDES[measure],
        picture.rows(wanted + floors, found),
        "similarity",
    )
    _floors(view, results[chosen], others[chosen], of_seeds, measure)
    picture.show(
        view,
        {f"moved-{measure}": figures.moved(results, names, measure, level, view.reference.label)},
        figures.MOVED_GUIDE,
        picture.rows(wanted, results),
        "similarity",
    )
    st.markdown(figures.moved_in_words(results, [plain(name) for name in names], measure, level))


def _floors(
    view: shell.View, result: similarity.Result, chosen: PinnedCheckpoint, floors: Sequence[Any], measure: Any
) -> None:
    """What a mere change of seed does, or how a study says that it has one."""
    for (one, twin), floor in zip(view.study.seeds, floors, strict=True):
        st.markdown(figures.beyond_floor(result, floor, measure, _plain(chosen), _plain(twin), _plain(one)))
    if not floors:
        st.caption(
            "How much a mere change of seed does is not known here: a checkpoint trained with another seed, with "
            '`seed_of = "its twin\'s label"` in study.toml, is drawn as the floor.'
        )


def _grid(view: shell.View) -> None:
    asked = [cka_grid.Query(one, view.reference, view.study.prompts, view.drop_largest) for one in reversed(view.pair)]
    wanted = [cka_grid.recipe.request(query) for query in asked]
    found = view.results(wanted, "Comparing every layer with every layer")
    if found is None:
        return
    picture.show(
        view,
        {
            f"cka-grid-{view.place(query.checkpoint)}": grid_figures.draw(
                result, query.checkpoint.label, view.reference.label
            )
            for query, result in zip(asked, found, strict=True)
        },
        grid_figures.GUIDE,
        picture.rows(wanted, found),
        "cka_grid",
    )
    st.markdown(grid_figures.in_words(found[0], _plain(view.checkpoint), _plain(view.reference)))


def _roles(view: shell.View) -> None:
    level = _level(view)
    if view.checkpoint == view.reference:
        st.info("Reference and chosen checkpoint are the same, so no layer changed; choose another epoch.")
        return
    prompts, pair = view.study.prompts, (view.checkpoint, view.reference)
    probes = [linear_probes.recipe.request(linear_probes.Query(one, view.reference, prompts)) for one in pair]
    found = work.both([_asked(view, *pair)], probes, view.lab, "Comparing layers and fitting linear probes")
    if found is None:
        return
    (alike,), (own, other) = found
    reading = layer_roles.read(
        alike.alike("cka"), own.prediction, other.prediction, prompts.labels, prompts.classes, level
    )
    picture.show(
        view,
        {"roles": roles_figures.draw(reading, view.checkpoint.label, view.reference.label)},
        roles_figures.GUIDE,
        lambda: reading.rows(view.checkpoint.label, view.reference.label),
        None,
    )
    st.markdown(roles_figures.rule(level, prompts.classes))
    st.markdown(roles_figures.in_words(reading, _plain(view.checkpoint), _plain(view.reference)))


def _distances(view: shell.View) -> None:
    others = _others(view)
    wanted = [
        geometry.recipe.request(geometry.Query(one, view.reference, view.study.prompts, view.drop_largest))
        for one in others
    ]
    found = view.results(wanted, "Comparing distances")
    if found is None:
        return
    shown = [one.label for one in others], [view.place(one) for one in others], len(view.names), view.reference.label
    picture.show(
        view,
        {
            "rank-correlation": geometry_figures.rank_correlations(found, *shown),
            "gromov-wasserstein": geometry_figures.gromov_wasserstein(found, *shown),
        },
        geometry_figures.GUIDE,
        picture.rows(wanted, found),
        "geometry",
    )


def _unembedding(view: shell.View) -> None:
    others = [one for one in _others(view) if one.facts.predicts]
    if not view.reference.facts.predicts or not others:
        one = view.checkpoint if view.reference.facts.predicts else view.reference
        st.info(f"{_plain(one)} predicts no tokens here, so it has no unembedding to compare.")
        return
    wanted = [unembedding.recipe.request(unembedding.Query(one, view.reference)) for one in others]
    found = view.results(wanted, "Comparing the unembeddings")
    if found is None:
        return
    shown = [one.label for one in others], [view.place(one) for one in others], len(view.names), view.reference.label
    picture.show(
        view,
        {"unembedding": unembedding_figures.draw(found, *shown)},
        unembedding_figures.GUIDE,
        picture.rows(wanted, found),
        "unembedding",
    )
    chosen = others.index(view.checkpoint) if view.checkpoint in others else len(others) - 1
    st.markdown(unembedding_figures.in_words(found[chosen], _plain(others[chosen]), _plain(view.reference)))
