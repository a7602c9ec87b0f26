"""Show what training taught: how residuals and predictions differ from the reference, and what scaling does."""

from __future__ import annotations

import streamlit as st

from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain
from pages.frame import address, painted, shell
from pages.parts import activation_differences, anything, logit_differences, scaling, side_effects

SHOWN = {
    "change": "Direction of the change",
    "predictions": "Predictions",
    "scaling": "Scaling",
    "price": "Gain and price",
    "weights": "Weights",
    "written": "Generated text",
}
"""What stands below the first picture, one at a time."""


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address."""
    return {
        "show": address.Choice(list(SHOWN), "change"),
        **activation_differences.choices(study),
        **logit_differences.choices(study),
        **scaling.choices(study),
    }


def draw(view: shell.View) -> None:
    """Draw the page."""
    st.title(plain(f"Difference: {view.both}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    activation_differences.overview(view)
    if painted.already() and view.checkpoint != view.reference:
        _details(view)


@shell.section
def _details(view: shell.View) -> None:
    """Draw the chosen part."""
    shown = view.part(SHOWN)
    parts = {
        "change": activation_differences.details,
        "predictions": logit_differences.draw,
        "scaling": scaling.draw,
        "price": side_effects.draw,
        "weights": anything.draw,
        "written": scaling.write,
    }
    parts[shown](view)


if __name__ == "__main__":
    shell.page(draw)
