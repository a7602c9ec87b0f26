"""The lower levels of the Probes page: whose change a block writes, and which heads and MLPs write the answer."""

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
    """Shares of own weights and changed input in every block's change."""
    st.subheader("Does a block write something new because it changed, or because what it reads did?")
    if view.checkpoint == view.reference:
        st.info("Reference and chosen checkpoint are the same, so no block changed; choose another epoch.")
        return
    scope = view.control(
        st.segmented_control, "Scope", "scope", format_func=inherited_figures.SCOPE_NAMES.__getitem__, required=True
    )
    wanted = [inherited.recipe.request(inherited.Query(view.checkpoint, view.reference, view.study.prompts))]
    found = view.results(wanted, "Running each block on both models' residuals")
    if found is None:
        return
    label = view.checkpoint.label
    picture.show(
        view,
        {
            "inherited-shares": inherited_figures.shares(found[0], label, scope),
            "inherited-norms": inherited_figures.norms(found[0], label, scope),
        },
        inherited_figures.GUIDE,
        picture.rows(wanted, found),
        "inherited",
    )
    names = [plain(one.label) for one in (view.checkpoint, view.reference)]
    st.markdown(inherited_figures.in_words(found[0], names[0], names[1], scope))


@shell.section
def parts(view: shell.View) -> None:
    """Direct attribution: the logit difference at the end, by head and MLP."""
    st.subheader("Which heads and MLPs write the answer?")
    if view.study.base.facts.kind == "encoder":
        st.info(
            "An encoder's logits are no sum over its parts, because every block normalizes the stream and the head "
            "bends it once more; swaps of attention and MLPs tell what each part does there."
        )
        return

    if not view.study.prompts.single:
        st.info(
            "A part adds to the logit of one token, and this study's label words have several; choose label words of "
            "one token each, or look at swaps of attention and MLPs."
        )
        return

    def said(measure: str) -> str:
        return {"gap": "the gap itself", "change": f"change from {view.reference.label}"}[measure]

    measure: Any = view.control(st.segmented_control, "Show", "parts", format_func=said, required=True)
    ends = view.pair if measure == "gap" else (view.checkpoint,)
    shown = [one for one in ends if one.facts.has_head]
    silent = next((one for one in (view.checkpoint, view.reference) if not one.facts.has_head), None)
    if silent is not None and (not shown or measure == "change"):
        st.info(
            f"{plain(silent.label)} is {silent.facts.headless} and answers nothing, so there is no answer to "
            "take apart; choose another epoch, or look at the gap itself."
        )
        return
    picture.without_head(view.pair)
    wanted = [attribution.recipe.request(attribution.Query(one, view.reference, view.study.prompts)) for one in shown]
    found = view.results(wanted, "Taking the logit difference apart")
    if found is None:
        return
    largest = attribution_figures.reach(found, measure)
    title = {
        "gap": "{}: what each part adds to the gap (logits)",
        "change": "{}: change of what each part adds (logits)",
    }
    picture.show(
        view,
        {
            f"parts-{measure}-{view.place(one)}": attribution_figures.heatmap(
                result, measure, title[measure].format(one.label), largest
            )
            for one, result in zip(shown, found, strict=True)
        },
        attribution_figures.GUIDE,
        picture.rows(wanted, found),
        "attribution",
    )
    for one, result in zip(shown, found, strict=True):
        st.markdown(attribution_figures.in_words(result, measure, plain(one.label)))
