"""Draw the similarity of layers: curves, when layers moved, layer by layer, layer roles, other measures."""

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
from pages.frame import address, film, needs, picture, shell
from pages.parts import seed_floor

PARTS = {
    "curves": "Each layer",
    "grid": "Layer × layer",
    "roles": "General or task-specific",
    "distances": "Distances",
    "unembedding": "Unembedding",
}


def choices() -> dict[str, address.Choice]:
    """Return the keys in the address."""
    return {
        "similarity": address.Choice(list(PARTS), "curves"),
        "measure": address.Choice(list(figures.NAMES), "cka"),
        "level": address.Choice(list(figures.LEVELS), "0.9"),
    }


def draw(view: shell.View) -> None:
    """Draw the chosen part."""
    st.subheader(f"How similar is each layer to {plain(view.reference.label)}?")
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
        st.info("There is no other checkpoint to compare with. Add one to study.toml.")
    else:
        {"curves": _curves, "roles": _roles, "distances": _distances, "unembedding": _unembedding}[part](view)


def _others(view: shell.View) -> list[PinnedCheckpoint]:
    """Return the epochs except the reference, and the chosen checkpoint if it is of another seed."""
    others = [checkpoint for checkpoint in view.study.epochs if checkpoint != view.reference]
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
    requests = [_asked(view, checkpoint, view.reference) for checkpoint in others]
    floors = [_asked(view, one, twin) for one, twin in seeds]
    found = view.results(requests + floors, "Comparing the layers")
    if found is None:
        return
    results, of_seeds = found[: len(others)], found[len(others) :]
    names, places = [checkpoint.label for checkpoint in others], [view.place(checkpoint) for checkpoint in others]
    chosen = others.index(view.checkpoint) if view.checkpoint in others else len(others) - 1
    said = seed_floor.names(list(seeds))
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
        picture.rows(requests + floors, found),
        "similarity",
    )
    _floors(view, results[chosen], others[chosen], of_seeds, measure)
    picture.show(
        view,
        {f"moved-{measure}": figures.moved(results, names, measure, level, view.reference.label)},
        figures.MOVED_GUIDE,
        picture.rows(requests, results),
        "similarity",
    )
    st.markdown(figures.moved_in_words(results, [plain(name) for name in names], measure, level))


def _floors(
    view: shell.View, result: similarity.Result, chosen: PinnedCheckpoint, floors: Sequence[Any], measure: Any
) -> None:
    """Say what a change of seed alone does, or how to add a second seed."""
    for pair, floor in zip(view.study.seeds, floors, strict=True):
        st.markdown(figures.beyond_floor(result, floor, measure, plain(chosen.label), *seed_floor.called(pair)))
    if not floors:
        seed_floor.hint()


def _grid(view: shell.View) -> None:
    def asked(then: shell.View) -> list[Request[cka_grid.Result]]:
        more = (then.reference, then.study.prompts, then.drop_largest)
        return [cka_grid.recipe.request(cka_grid.Query(one, *more)) for one in reversed(then.pair)]

    requests = asked(view)
    results = view.results(requests, "Comparing every layer with every layer")
    if results is None:
        return

    def drawn(then: shell.View, found: list[cka_grid.Result]) -> dict[str, Any]:
        labels = [one.label for one in reversed(then.pair)]
        keys = ["cka-grid", "cka-grid-reference"]
        grids = [grid_figures.draw(*one, then.reference.label) for one in zip(found, labels, strict=True)]
        return dict(zip(keys, grids, strict=False))

    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        grid_figures.GUIDE,
        picture.rows(requests, results),
        "cka_grid",
    )
    st.markdown(grid_figures.in_words(results[0], _plain(view.checkpoint), _plain(view.reference)))


def _roles(view: shell.View) -> None:
    if needs.lacks(view, "classes", "The split into general and task-specific layers"):
        return
    level = _level(view)
    if view.checkpoint == view.reference:
        st.info("Reference and chosen checkpoint are the same. Choose another epoch.")
        return
    prompts = view.study.prompts

    def requests(then: shell.View) -> list[Request[Any]]:
        pair = (then.checkpoint, then.reference)
        probes = [linear_probes.Query(checkpoint, view.reference, prompts) for checkpoint in pair]
        return [_asked(then, *pair), *(linear_probes.recipe.request(query) for query in probes)]

    def read(alike: Any, own: Any, other: Any) -> layer_roles.Reading:
        cka = alike.alike("cka")
        return layer_roles.read(cka, own.prediction, other.prediction, prompts.labels, prompts.classes, level)

    results = view.results(requests(view), "Comparing layers and fitting linear probes")
    if results is None:
        return
    reading = read(*results)
    picture.show(
        view,
        film.over_epochs(
            view,
            requests,
            results,
            lambda then, found: {
                "roles": roles_figures.draw(read(*found), then.checkpoint.label, view.reference.label)
            },
        ),
        roles_figures.GUIDE,
        lambda: reading.rows(view.checkpoint.label, view.reference.label),
        None,
    )
    st.markdown(roles_figures.rule(level, prompts.classes))
    st.markdown(roles_figures.in_words(reading, _plain(view.checkpoint), _plain(view.reference)))


def _series(view: shell.View, others: Sequence[PinnedCheckpoint]) -> tuple[list[str], list[int], int, str]:
    """Return the names, positions and number of the curves, and the name of the reference."""
    names, places = [one.label for one in others], [view.place(one) for one in others]
    return names, places, len(view.names), view.reference.label


def _distances(view: shell.View) -> None:
    others = _others(view)
    requests = [
        geometry.recipe.request(geometry.Query(checkpoint, view.reference, view.study.prompts, view.drop_largest))
        for checkpoint in others
    ]
    results = view.results(requests, "Comparing distances")
    if results is None:
        return
    series = _series(view, others)
    picture.show(
        view,
        {
            "rank-correlation": geometry_figures.rank_correlations(results, *series),
            "gromov-wasserstein": geometry_figures.gromov_wasserstein(results, *series),
        },
        geometry_figures.GUIDE,
        picture.rows(requests, results),
        "geometry",
    )


def _unembedding(view: shell.View) -> None:
    others = [one for one in _others(view) if one.facts.predicts]
    if not view.reference.facts.predicts or not others:
        one = view.checkpoint if view.reference.facts.predicts else view.reference
        st.info(f"{_plain(one)} predicts no tokens, so it has no unembedding to compare.")
        return
    requests = [unembedding.recipe.request(unembedding.Query(checkpoint, view.reference)) for checkpoint in others]
    results = view.results(requests, "Comparing the unembeddings")
    if results is None:
        return
    series = _series(view, others)
    picture.show(
        view,
        {"unembedding": unembedding_figures.draw(results, *series)},
        unembedding_figures.GUIDE,
        picture.rows(requests, results),
        "unembedding",
    )
    chosen = others.index(view.checkpoint) if view.checkpoint in others else len(others) - 1
    st.markdown(unembedding_figures.in_words(results[chosen], _plain(others[chosen]), _plain(view.reference)))
