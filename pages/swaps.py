"""Show which parts carry the change: one model runs with blocks, attention or MLPs of another."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from backend.analyses import swaps
from backend.caching.memoize import Request
from backend.derived.swap_logits import IN_BLOCKS
from backend.figures import single_swaps as single_figures
from backend.figures import swaps as figures
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, film, needs, picture, shell
from pages.parts import patching, steering

MODES = {
    "single": "One block at a time",
    "cumulative": "From either end",
    "range": "Every range",
    "freeze": "Freeze advice",
    "patching": "Activation patching",
    "steering": "Steering",
}


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address; by default the chosen epoch runs with parts of the reference."""
    labels = ["", *(checkpoint.label for checkpoint in study.checkpoints)]
    return {
        "host": address.Choice(labels, ""),
        "donor": address.Choice(labels, ""),
        "part": address.Choice(list(IN_BLOCKS), "block"),
        "mode": address.Choice(list(MODES), "steering" if study.lacks("answers") else "single"),
        "measure": address.Choice(list(figures.SHOWN), "balanced_accuracy"),
        **patching.choices(study),
        **steering.choices(study),
    }


def draw(view: shell.View) -> None:
    """Draw the page."""
    steers = view.value("mode") == "steering"
    host, donor = steering.pair(view) if steers else _pair(view)
    what = f"direction of {donor.label}" if steers else f"parts of {donor.label}"
    st.title(plain(f"Swaps: {host.label} with {'its own direction' if steers and host == donor else what}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    if needs.lacks(view, "answers", "A swap") and not steers:
        _modes(view)
        return
    _controls(view)
    if steers:
        steering.draw(view)
        return
    if host == donor:
        st.info("Host and donor are the same model. Choose two different ones.")
        return
    if view.value("mode") == "patching":
        patching.review(view, _pair)
        return
    runs, gives = _freezes(view) if view.value("mode") == "freeze" else (host, donor)
    reason = swaps.undefined(runs, gives, "block")
    if reason:
        st.info(reason)
        return
    {"single": _single, "cumulative": _cumulative, "range": _ranges, "freeze": _freeze}[view.value("mode")](view)


def _pair(view: shell.View) -> tuple[PinnedCheckpoint, PinnedCheckpoint]:
    """Return host and donor."""
    said = (view.value("host"), view.value("donor"))
    host, donor = (
        view.study.checkpoint(label) if label else one
        for label, one in zip(said, (view.checkpoint, view.reference), strict=True)
    )
    return host, donor


def _freezes(view: shell.View) -> tuple[PinnedCheckpoint, PinnedCheckpoint]:
    """Return host and donor of freeze advice: the later checkpoint with parts of the earlier."""
    host, donor = sorted(_pair(view), key=view.place, reverse=True)
    return host, donor


def _controls(view: shell.View) -> None:
    """Show the controls of host, donor and measure."""

    def named(instead: str) -> Any:
        return lambda label: label or instead

    if view.value("mode") == "steering":
        _modes(view)
        return
    with st.container(horizontal=True):
        runs, gives = f"{view.checkpoint.label} (epoch chosen)", f"{view.reference.label} (compared with)"
        view.control(st.selectbox, "Host: the model that runs", "host", format_func=named(runs), width=260)
        view.control(st.selectbox, "Donor: the model that gives parts", "donor", format_func=named(gives), width=260)
        if view.value("mode") != "patching":
            view.control(st.selectbox, "Measure", "measure", format_func=figures.UNITS.__getitem__, width=240)
    with st.container(horizontal=True):
        _modes(view)
        if view.value("mode") in ("single", "cumulative", "range"):
            named_parts = figures.PARTS.__getitem__
            view.control(st.segmented_control, "Which part", "part", format_func=named_parts, required=True)


def _modes(view: shell.View) -> None:
    view.control(st.segmented_control, "Intervention", "mode", format_func=MODES.__getitem__, required=True)


def _query(view: shell.View, mode: swaps.Mode, part: swaps.Part | None = None) -> Request[swaps.Result]:
    """Return the request for a part, by default the part in the address."""
    host, donor = _pair(view)
    chosen: Any = part or view.value("part")
    return swaps.recipe.request(swaps.Query(host, donor, view.study.prompts, chosen, mode))


def _apart(view: shell.View) -> bool:
    """Return whether host and donor differ, so that their blocks can be swapped."""
    host, donor = _pair(view)
    return host != donor and not swaps.undefined(host, donor, "block")


def _measures(view: shell.View) -> Any:
    """Return the fraction recovered and the chosen measure."""
    donor = _pair(view)[1]
    return dict.fromkeys((*(["fraction_recovered"] if donor.facts.replies else []), view.value("measure")))


def _drawn(view: shell.View, results: dict[Any, Any], key: str) -> dict[str, Any]:
    """Draw the chosen measure and the fraction recovered."""
    host, donor = _pair(view)
    part: Any = view.value("part")
    measures = reversed(_measures(view))
    return {f"{key}-{measure}": figures.curves(results, part, measure, host.label, donor.label) for measure in measures}


def _so_far(view: shell.View, mode: swaps.Mode) -> None:
    """Draw the swaps that are under way, over the finished reviews."""
    query = _query(view, mode).query
    results = swaps.under_way(query, view.lab)
    if results is None:
        return
    result, reviews = results
    measure: Any = view.value("measure")
    names = (query.part, measure, query.host.label, query.donor.label)
    figure = figures.triangle(result, *names) if mode == "range" else figures.curves({mode: result}, *names)
    said = f"{reviews} of {len(view.study.prompts.labels)} texts so far; intervals follow at the end."
    picture.unfinished(figure, f"so-far-{mode}", said)


@shell.section
def _single(view: shell.View) -> None:
    host, donor = _pair(view)
    answer = st.empty()
    request = _query(view, "single")
    results = view.results([request], "Swapping one block at a time", lambda: _so_far(view, "single"))
    if results is None:
        return
    reasons = _reasons(view)
    there: list[swaps.Part] = [part for part, reason in reasons.items() if not reason]
    requests = [_query(view, "single", part) for part in there]
    place = st.container()
    others = view.results(requests, "Swapping parts outside the blocks")
    outside = dict(zip(there, others or [], strict=False))
    part: Any = view.value("part")
    answer.markdown(
        single_figures.strongest(
            {part: results[0], **outside},
            plain(host.label),
            plain(donor.label),
            back=view.place(donor) < view.place(host),
        )
    )

    def asked(then: shell.View) -> list[Request[swaps.Result]] | None:
        parts: list[swaps.Part] = [part for part, reason in _reasons(then).items() if not reason]
        return [_query(then, "single"), *(_query(then, "single", part) for part in parts)] if _apart(then) else None

    def drawn(then: shell.View, found: list[swaps.Result]) -> dict[str, Any]:
        parts: list[swaps.Part] = [part for part, reason in _reasons(then).items() if not reason]
        given = (found[0], part, dict(zip(parts, found[1:], strict=False)))
        ends = [one.label for one in _pair(then)]
        return {f"single-{measure}": single_figures.parts(*given, measure, *ends) for measure in _measures(view)}

    with place:
        picture.show(
            view,
            film.over_epochs(view, asked, [results[0], *outside.values()], drawn),
            single_figures.PARTS_GUIDE,
            picture.rows([request, *requests[: len(outside)]], [results[0], *outside.values()]),
            "swaps",
        )
    for reason in filter(None, reasons.values()):
        st.caption(reason)
    if outside:
        with st.expander("Parts outside the blocks, in numbers"):
            picture.table(
                view,
                "outside",
                single_figures.table(outside),
                single_figures.OUTSIDE_GUIDE,
                picture.rows(requests, list(outside.values())),
                "swaps",
            )


def _reasons(view: shell.View) -> dict[swaps.Part, str]:
    """Return why each part outside the blocks cannot be swapped, empty where it can."""
    return {part: swaps.undefined(*_pair(view), part) for part in single_figures.SINGLE_PARTS[1:]}


@shell.section
def _cumulative(view: shell.View) -> None:
    modes: tuple[swaps.Mode, ...] = ("up_to", "from")
    requests = {mode: _query(view, mode) for mode in modes}
    work = {"up_to": "Swapping from the bottom", "from": "Swapping from the top"}
    results = {mode: view.results([requests[mode]], work[mode], partial(_so_far, view, mode)) for mode in modes}
    there: dict[Any, swaps.Result] = {mode: one[0] for mode, one in results.items() if one is not None}
    if there:
        picture.show(
            view,
            film.over_epochs(
                view,
                lambda then: [_query(then, mode) for mode in there] if _apart(then) else None,
                list(there.values()),
                lambda then, found: _drawn(then, dict(zip(there, found, strict=True)), "cumulative"),
            ),
            figures.CUMULATIVE_GUIDE,
            picture.rows([requests[mode] for mode in there], list(there.values())),
            "swaps",
        )


@shell.section
def _ranges(view: shell.View) -> None:
    donor = _pair(view)[1]
    part: Any = view.value("part")
    measure: Any = view.value("measure")
    requests = [_query(view, "range")]
    results = view.results(requests, "Swapping every range of blocks", lambda: _so_far(view, "range"))
    if results is None:
        return
    picture.show(
        view,
        film.over_epochs(
            view,
            lambda then: [_query(then, "range")] if _apart(then) else None,
            results,
            lambda then, found: {
                "range": figures.triangle(found[0], part, measure, *(one.label for one in _pair(then)))
            },
        ),
        figures.triangle_guide(donor.facts.replies),
        picture.rows(requests, results),
        "swaps",
    )


@shell.section
def _freeze(view: shell.View) -> None:

    def asked(then: shell.View) -> list[Request[swaps.Result]] | None:
        query = swaps.Query(*_freezes(then), then.study.prompts, "block", "up_to")
        return [swaps.recipe.request(query)] if query.host != query.donor else None

    requests = asked(view) or []
    results = view.results(requests, "Restoring blocks from the bottom")
    if results is None:
        return
    query = requests[0].query
    st.markdown(figures.advice(results[0], plain(query.host.label), plain(query.donor.label)))
    picture.show(
        view,
        film.over_epochs(
            view,
            asked,
            results,
            lambda then, found: {"freeze": figures.losses(found[0], *(one.label for one in _freezes(then)))},
        ),
        figures.LOSSES_GUIDE,
        lambda: results[0].losses(query),
        "swaps",
    )


if __name__ == "__main__":
    shell.page(draw)
