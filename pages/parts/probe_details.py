"""Draw linear probes, the causes of each block's change, and the heads and MLPs that write the answer."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import attribution, inherited, linear_probes
from backend.caching.memoize import Request
from backend.figures import attribution as attribution_figures
from backend.figures import inherited as inherited_figures
from backend.figures import linear_probes as linear_figures
from backend.stats.splits import repeated
from backend.vocabulary.markdown import plain
from pages.frame import film, picture, shell


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

    def asked(then: shell.View) -> list[Request[inherited.Result]]:
        return [inherited.recipe.request(inherited.Query(then.checkpoint, then.reference, then.study.prompts))]

    def drawn(then: shell.View, found: list[inherited.Result]) -> dict[str, Any]:
        label = then.checkpoint.label
        return {
            "inherited-shares": inherited_figures.shares(found[0], label, scope),
            "inherited-norms": inherited_figures.norms(found[0], label, scope),
        }

    requests = asked(view)
    results = view.results(requests, "Running each block on both models' residuals")
    if results is None:
        return
    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
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

    def asked(then: shell.View) -> list[Request[attribution.Result]]:
        ends = [one for one in (then.pair if measure == "gap" else (then.checkpoint,)) if one.facts.replies]
        return [attribution.recipe.request(attribution.Query(one, then.reference, then.study.prompts)) for one in ends]

    requests = asked(view)
    results = view.results(requests, "Attributing the logit difference")
    if results is None:
        return
    title = {
        "gap": "{}: what each part adds to the gap (logits)",
        "change": "{}: change of what each part adds (logits)",
    }[measure]

    def drawn(then: shell.View, found: list[attribution.Result]) -> dict[str, Any]:
        largest = attribution_figures.reach(found, measure)
        heats = {
            request.query.checkpoint: attribution_figures.heatmap(
                result, measure, title.format(request.query.checkpoint.label), largest
            )
            for request, result in zip(asked(then), found, strict=True)
        }
        return {
            f"parts-{measure}-{'chosen' if one == then.checkpoint else 'first'}": heat for one, heat in heats.items()
        }

    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
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


@shell.section
def linear(view: shell.View) -> None:
    """Draw linear probes with their baselines, and transferred between models."""
    st.subheader("Can a linear probe find the class in the residuals?")

    def said(fit: Any) -> str:
        return linear_figures.title(fit, view.reference.label)

    fit: Any = view.control(st.segmented_control, "Probes", "fit", format_func=said, required=True)
    requests = [
        linear_probes.recipe.request(linear_probes.Query(checkpoint, view.reference, view.study.prompts))
        for checkpoint in view.study.checkpoints
    ]
    results = view.results(requests, "Fitting linear probes")
    if results is None:
        return
    prompts = view.study.prompts
    if copied := linear_figures.copies(repeated(prompts.groups), len(prompts.token_ids)):
        st.markdown(copied)
    places = [view.place(checkpoint) for checkpoint in view.pair]
    pictured, classes = [results[place] for place in places], len(view.words)

    def curves(then: shell.View, found: list[linear_probes.Result]) -> dict[str, Any]:
        names, places = [one.label for one in then.pair], [then.place(one) for one in then.pair]
        given = (names, places, len(view.names), classes, fit, view.reference.label)
        return {"linear-curves": linear_figures.curves(found, *given)}

    picture.show(
        view,
        film.over_epochs(view, lambda then: [requests[then.place(one)] for one in then.pair], pictured, curves),
        linear_figures.CURVES_GUIDE,
        picture.rows([requests[place] for place in places], pictured),
        "linear_probes",
    )
    picture.show(
        view,
        {"linear-heat": linear_figures.heatmap(results, view.names, classes, fit, view.reference.label)},
        linear_figures.HEATMAP_GUIDE,
        picture.rows(requests, results),
        "linear_probes",
    )
