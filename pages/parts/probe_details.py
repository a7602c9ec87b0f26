"""Draw the causes of each block's change, and the heads and MLPs that write the answer."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import attribution, inherited
from backend.figures import attribution as attribution_figures
from backend.figures import inherited as inherited_figures
from backend.vocabulary.markdown import plain
from pages.frame import picture, shell


@shell.section
def inherited_share(view: shell.View) -> None:
    """Draw the shares of own weights and changed input in every block's change."""
    st.subheader("Does a block's output change because of its weights or its input?")
    if view.checkpoint == view.reference:
        st.info("Reference and chosen checkpoint are the same. Choose another epoch.")
        return
    scope = view.control(
        st.segmented_control, "Scope", "scope", format_func=inherited_figures.SCOPE_NAMES.__getitem__, required=True
    )
    requests = [inherited.recipe.request(inherited.Query(view.checkpoint, view.reference, view.study.prompts))]
    results = view.results(requests, "Running each block on both models' residuals")
    if results is None:
        return
    label = view.checkpoint.label
    picture.show(
        view,
        {
            "inherited-shares": inherited_figures.shares(results[0], label, scope),
            "inherited-norms": inherited_figures.norms(results[0], label, scope),
        },
        inherited_figures.GUIDE,
        picture.rows(requests, results),
        "inherited",
    )
    names = [plain(one.label) for one in (view.checkpoint, view.reference)]
    st.markdown(inherited_figures.in_words(results[0], names[0], names[1], scope))


@shell.section
def parts(view: shell.View) -> None:
    """Draw direct attribution: the logit difference at the end, by head and MLP."""
    st.subheader("Which heads and MLPs write the answer?")
    if view.study.base.facts.kind == "encoder":
        st.info(
            "An encoder's logits are not a sum over its parts, because blocks and head are nonlinear. "
            "See the swaps of attention and MLPs instead."
        )
        return

    def said(measure: str) -> str:
        return {"gap": "the gap itself", "change": f"change from {view.reference.label}"}[measure]

    measure: Any = view.control(st.segmented_control, "Show", "parts", format_func=said, required=True)
    ends = view.pair if measure == "gap" else (view.checkpoint,)
    shown = [checkpoint for checkpoint in ends if checkpoint.facts.replies]
    silent = next((one for one in (view.checkpoint, view.reference) if not one.facts.replies), None)
    if silent is not None and (not shown or measure == "change"):
        st.info(
            f"{plain(silent.label)} is {silent.facts.headless}, so it has no answer to attribute. "
            "Choose another epoch, or see the gap itself."
        )
        return
    picture.without_head(view.pair)
    requests = [
        attribution.recipe.request(attribution.Query(section, view.reference, view.study.prompts)) for section in shown
    ]
    results = view.results(requests, "Attributing the logit difference")
    if results is None:
        return
    largest = attribution_figures.reach(results, measure)
    title = {
        "gap": "{}: what each part adds to the gap (logits)",
        "change": "{}: change of what each part adds (logits)",
    }
    picture.show(
        view,
        {
            f"parts-{measure}-{view.place(section)}": attribution_figures.heatmap(
                result, measure, title[measure].format(section.label), largest
            )
            for section, result in zip(shown, results, strict=True)
        },
        attribution_figures.GUIDE,
        picture.rows(requests, results),
        "attribution",
    )
    if not view.study.prompts.single:
        st.caption(
            "The label words have several tokens. Heads and MLPs are split for the first token of each word; the "
            "other tokens are read at later positions, so they are one part below."
        )
    for section, result in zip(shown, results, strict=True):
        st.markdown(attribution_figures.in_words(result, measure, plain(section.label)))
