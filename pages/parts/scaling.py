"""Draw what scaling the change does, and write on with a scaled model."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import activation_differences, scaling
from backend.caching.memoize import Request
from backend.derived.model_differences import PLACES
from backend.derived.scaled_change import IN_BLOCKS
from backend.derived.texts import plain_prompts
from backend.figures import scaling as figures
from backend.figures.style import theme
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from backend.vocabulary.markdown import plain
from pages.frame import address, film, picture, shell, work
from pages.parts import activation_differences as residuals

HOW = {"weights": "Scaled weights", "logits": "Amplified logits", "steer": "Steering along the change"}
BEGINNING = "The film"
TEMPERATURE = 0.7
"""Sampling temperature of what is written."""


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the part's keys in the address."""
    return {
        "part": address.Choice(list(scaling.PARTS), "all"),
        "how": address.Choice(list(HOW), "weights"),
        "alpha": address.Choice(["-4", "-2", *(f"{alpha:g}" for alpha in scaling.ALPHAS), "4", "8"], "2"),
        "begin": address.Text(most=400),
        "seed": address.Choice([str(seed) for seed in range(10)], "0"),
    }


@shell.section
def draw(view: shell.View) -> None:
    """Draw the curves of all weights, or the blocks of a part."""
    st.subheader("What does more or less of the change do?")
    if view.checkpoint not in residuals.others(view):
        st.info(f"{plain(view.checkpoint.label)} reads other token ids, so its change cannot be scaled.")
        return
    part: Any = view.control(
        st.segmented_control, "Scaled part", "part", format_func=figures.PARTS.__getitem__, required=True
    )

    def asked(then: shell.View) -> list[Request[scaling.Result]] | None:
        if then.checkpoint not in residuals.others(then):
            return None
        return [scaling.recipe.request(scaling.query(then.study, then.checkpoint, then.reference, part))]

    requests = asked(view) or []
    results = work.on_demand(requests, view.lab, "Scaling the change", "Scale the change", beyond=work.LONG_SECONDS)
    if results is None:
        return
    result, query = results[0], requests[0].query
    if part == "all":
        st.markdown(figures.in_words(result, query, plain(view.checkpoint.label)))
    in_blocks = part in IN_BLOCKS

    def drawn(then: shell.View, found: list[scaling.Result]) -> dict[str, Any]:
        colour = theme.checkpoint_colour(then.place(then.checkpoint), len(then.names))
        given = (found[0], scaling.query(then.study, then.checkpoint, then.reference, part))
        return {
            f"scaling-{name}": figures.blocks(*given, name) if in_blocks else figures.curve(*given, name, colour)
            for name in figures.shown(found[0])
        }

    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        figures.BLOCKS_GUIDE if in_blocks else figures.GUIDE,
        picture.rows(requests, results),
        "scaling",
    )


@shell.section
def write(view: shell.View) -> None:
    """Write on with scaled weights, amplified logits, or steering along the mean change."""
    st.subheader("What does the scaled model write?")
    silent = next((one for one in view.pair if not one.facts.predicts), None)
    if silent is not None or view.checkpoint not in residuals.others(view):
        st.info(f"{plain((silent or view.checkpoint).label)} predicts no tokens, so there is nothing to write.")
        return
    begin: Any = view.choices["begin"]
    about: dict[str, Any] = {"placeholder": BEGINNING, "width": 420}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view.control(st.segmented_control, "Change", "how", format_func=HOW.__getitem__, required=True)
        address.text_box("Beginning", "begin", begin, make=st.text_input, **about)
        view.control(st.selectbox, "Seed", "seed", width=100)
    view.control(st.select_slider, "alpha", "alpha", width=420)
    prompts = _prompts(view)
    if view.value("how") == "steer":
        _steered(view, prompts)
    else:
        _scaled(view, prompts)


def _prompts(view: shell.View) -> Prompts:
    tokenizer = view.study.readers.of[view.study.tokenizing(view.checkpoint).fingerprint].tokenizer
    most = view.study.study.prompt.max_tokens
    return plain_prompts(tokenizer, [view.value("begin").strip() or BEGINNING], "causal", most)


def _scaled(view: shell.View, prompts: Prompts) -> None:
    alpha, seed = float(view.value("alpha")), int(view.value("seed"))
    by_logits = view.value("how") == "logits"
    ends = {view.reference.label: 0.0, view.checkpoint.label: 1.0}
    asked = [("all", end, label) for label, end in ends.items()]
    asked.append(("logits" if by_logits else "all", alpha, f"alpha {alpha:g}"))
    given = [
        (
            scaling.WrittenQuery(
                view.checkpoint,
                view.reference,
                prompts,
                part,
                (),
                one,
                temperature,
                0 if temperature is None else seed,
            ),
            name,
        )
        for part, one, name in asked
        for temperature in (None, TEMPERATURE)
    ]
    requests = [scaling.written.request(query) for query, _ in given]
    results = view.results(requests, "Writing with scaled models")
    if results is None:
        return
    rows = figures.written(results, [query for query, _ in given], [name for _, name in given])
    shown = [{key: plain(value) for key, value in row.items()} for row in rows]
    picture.table(view, "scaling-written", shown, figures.WRITTEN_GUIDE, picture.rows(requests, results), None)


def _steered(view: shell.View, prompts: Prompts) -> None:
    """Write with both models, each as it is and with alpha times the mean difference at the chosen layer."""
    alpha, seed = float(view.value("alpha")), int(view.value("seed"))
    differences = activation_differences.query(view.study, view.checkpoint, view.reference, view.value("texts"))
    given = [
        (
            activation_differences.WrittenQuery(
                one,
                differences.differences,
                prompts,
                PLACES.index(view.value("place")),
                int(view.value("at")),
                amount,
                temperature,
                0 if temperature is None else seed,
            ),
            one.label if amount == 0 else f"{one.label}, alpha {amount:g}",
        )
        for one in view.pair
        for amount in dict.fromkeys((0.0, alpha))
        for temperature in (None, TEMPERATURE)
    ]
    requests = [activation_differences.written.request(query) for query, _ in given]
    results = view.results(requests, "Steering along the change")
    if results is None:
        return
    rows = figures.written(results, [query for query, _ in given], [name for _, name in given])
    shown = [{key: plain(value) for key, value in row.items()} for row in rows]
    st.caption(f"The mean change at layer {view.value('at')} is added there, at every position, alpha times.")
    picture.table(view, "steering-written", shown, figures.WRITTEN_GUIDE, picture.rows(requests, results), None)
