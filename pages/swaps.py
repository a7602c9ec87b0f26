"""Which parts carry what training changed: one model with parts of another, whole blocks, attention or MLPs."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from backend.analyses import swaps
from backend.caching.memoize import Request
from backend.derived.swap_logits import IN_BLOCKS
from backend.figures import swaps as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, picture, shell
from pages.parts import patching, steering

TITLE = "Swaps"
MODES = {
    "single": "One block at a time",
    "cumulative": "From either end",
    "range": "Every range",
    "freeze": "Freeze advice",
    "patching": "One review, token by token",
    "steering": "Steering",
}
OUTSIDE: tuple[swaps.Part, ...] = ("embed", "final_norm", "head")


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """The page's keys in the address; without `host` and `donor`, the reference runs with parts of the chosen epoch."""
    labels = ["", *(one.label for one in study.checkpoints)]
    return {
        "host": address.Choice(labels, ""),
        "donor": address.Choice(labels, ""),
        "part": address.Choice(list(IN_BLOCKS), "block"),
        "mode": address.Choice(list(MODES), "single"),
        "measure": address.Choice(list(figures.SHOWN), "balanced_accuracy"),
        **patching.choices(study),
        **steering.choices(study),
    }


def draw(view: shell.View) -> None:
    """The page."""
    steers = view.value("mode") == "steering"
    host, donor = steering.pair(view) if steers else _pair(view)
    what = f"direction of {donor.label}" if steers else f"parts of {donor.label}"
    st.title(plain(f"Swaps: {host.label} with {'its own direction' if steers and host == donor else what}"))
    for one in view.study.missing:
        st.warning(plain(one.reason))
    _controls(view)
    if steers:
        steering.draw(view)
        return
    if host == donor:
        st.info("Host and donor are the same model, so every swap changes nothing; choose two that differ.")
        return
    if view.value("mode") == "patching":
        patching.review(view, (host, donor))
        return
    runs, gives = _freezes(view) if view.value("mode") == "freeze" else (host, donor)
    reason = swaps.undefined(runs, gives, "block")
    if reason:
        st.info(reason)
        return
    {"single": _single, "cumulative": _cumulative, "range": _ranges, "freeze": _freeze}[view.value("mode")](view)


def _pair(view: shell.View) -> tuple[PinnedCheckpoint, PinnedCheckpoint]:
    """Host and donor."""
    said = (view.value("host"), view.value("donor"))
    host, donor = (
        view.study.checkpoint(label) if label else one
        for label, one in zip(said, (view.reference, view.checkpoint), strict=True)
    )
    return host, donor


def _freezes(view: shell.View) -> tuple[PinnedCheckpoint, PinnedCheckpoint]:
    """Host and donor of freeze advice: always the later one with parts of the earlier."""
    host, donor = sorted(_pair(view), key=view.place, reverse=True)
    return host, donor


def _controls(view: shell.View) -> None:
    """What runs, what it takes, and what is measured."""

    def named(instead: str) -> Any:
        return lambda label: label or instead

    if view.value("mode") == "steering":
        view.control(st.segmented_control, "Which blocks", "mode", format_func=MODES.__getitem__, required=True)
        return
    with st.container(horizontal=True):
        runs, gives = f"{view.reference.label} (compared with)", f"{view.checkpoint.label} (epoch chosen)"
        view.control(st.selectbox, "Host: the model that runs", "host", format_func=named(runs), width=260)
        view.control(st.selectbox, "Donor: parts are taken from it", "donor", format_func=named(gives), width=260)
        if view.value("mode") != "patching":
            view.control(st.selectbox, "Measure", "measure", format_func=figures.UNITS.__getitem__, width=240)
    with st.container(horizontal=True):
        view.control(st.segmented_control, "Which swaps", "mode", format_func=MODES.__getitem__, required=True)
        if view.value("mode") in ("single", "cumulative", "range"):
            named_parts = figures.PARTS.__getitem__
            view.control(st.segmented_control, "Which part", "part", format_func=named_parts, required=True)


def _query(view: shell.View, mode: swaps.Mode, part: swaps.Part | None = None) -> Request[swaps.Result]:
    """Recipe and query of the part that the address names."""
    host, donor = _pair(view)
    chosen: Any = part or view.value("part")
    return swaps.recipe.request(swaps.Query(host, donor, view.study.prompts, chosen, mode))


def _drawn(view: shell.View, results: dict[Any, Any], key: str) -> dict[str, Any]:
    """The chosen measure and, beside it, the share recovered."""
    host, donor = _pair(view)
    part: Any = view.value("part")
    measures: Any = dict.fromkeys((view.value("measure"), *(["fraction_recovered"] if donor.facts.has_head else [])))
    return {f"{key}-{measure}": figures.curves(results, part, measure, host.label, donor.label) for measure in measures}


def _so_far(view: shell.View, mode: swaps.Mode) -> None:
    """What swaps that are under way say of the reviews that are done."""
    query = _query(view, mode).query
    found = swaps.under_way(query, view.lab)
    if found is None:
        return
    result, reviews = found
    measure: Any = view.value("measure")
    names = (query.part, measure, query.host.label, query.donor.label)
    figure = figures.triangle(result, *names) if mode == "range" else figures.curves({mode: result}, *names)
    said = f"{reviews} of {len(view.study.prompts.labels)} reviews so far; intervals come with the last one."
    picture.unfinished(figure, f"so-far-{mode}", said)


@shell.section
def _single(view: shell.View) -> None:
    host, donor = (plain(one.label) for one in _pair(view))
    wanted = [_query(view, "single")]
    found = view.results(wanted, "Swapping one block at a time", lambda: _so_far(view, "single"))
    if found is not None:
        picture.show(
            view,
            _drawn(view, {"single": found[0]}, "single"),
            figures.SINGLE_GUIDE,
            picture.rows(wanted, found),
            "swaps",
        )
        st.markdown(figures.strongest(found[0], wanted[0].query.part, host, donor))
    st.subheader("Outside the blocks")
    reasons: dict[swaps.Part, str] = {part: swaps.undefined(*_pair(view), part) for part in OUTSIDE}
    there: list[swaps.Part] = [part for part, reason in reasons.items() if not reason]
    wanted = [_query(view, "single", part) for part in there]
    found = view.results(wanted, "Swapping what is in no block")
    if found is not None:
        picture.table(
            view,
            "outside",
            figures.table(dict(zip(there, found, strict=True))),
            figures.OUTSIDE_GUIDE,
            picture.rows(wanted, found),
            "swaps",
        )
    for reason in filter(None, reasons.values()):
        st.caption(reason)


@shell.section
def _cumulative(view: shell.View) -> None:
    modes: tuple[swaps.Mode, ...] = ("up_to", "from")
    wanted = {mode: _query(view, mode) for mode in modes}
    work = {"up_to": "Swapping from the bottom", "from": "Swapping from the top"}
    found = {mode: view.results([wanted[mode]], work[mode], partial(_so_far, view, mode)) for mode in modes}
    there = {mode: one[0] for mode, one in found.items() if one is not None}
    if there:
        picture.show(
            view,
            _drawn(view, there, "cumulative"),
            figures.CUMULATIVE_GUIDE,
            picture.rows([wanted[mode] for mode in there], list(there.values())),
            "swaps",
        )


@shell.section
def _ranges(view: shell.View) -> None:
    host, donor = _pair(view)
    part: Any = view.value("part")
    measure: Any = view.value("measure")
    wanted = [_query(view, "range")]
    found = view.results(wanted, "Swapping every range of blocks", lambda: _so_far(view, "range"))
    if found is None:
        return
    picture.show(
        view,
        {"range": figures.triangle(found[0], part, measure, host.label, donor.label)},
        figures.triangle_guide(donor.facts.has_head),
        picture.rows(wanted, found),
        "swaps",
    )


@shell.section
def _freeze(view: shell.View) -> None:
    query = swaps.Query(*_freezes(view), view.study.prompts, "block", "up_to")
    found = view.results([swaps.recipe.request(query)], "Putting blocks back from the bottom")
    if found is None:
        return
    st.markdown(figures.advice(found[0], plain(query.host.label), plain(query.donor.label)))
    picture.show(
        view,
        {"freeze": figures.losses(found[0], query.host.label, query.donor.label)},
        figures.LOSSES_GUIDE,
        lambda: found[0].losses(query),
        "swaps",
    )


if __name__ == "__main__":
    shell.page(draw)
