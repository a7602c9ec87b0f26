"""Draw when training changes each layer: layer by step, with the steps at which three curves cross their levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from backend.analyses import trajectory
from backend.figures import trajectory as figures
from backend.vocabulary.markdown import plain
from pages.frame import picture, shell
from pages.parts import steps


def draw(view: shell.View) -> None:
    """Draw the picture, and its numbers as a table."""
    st.subheader("When does training change each layer?")
    asked = trajectory.queries(view.study, view.reference.label)
    if not asked:
        st.info("A training needs two checkpoints at least. Add another to study.toml.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        steps.control(view)
        level: Any = view.control(st.segmented_control, "CKA below", "level", required=True)
    query = replace(asked[0], level=float(level), drop_largest=view.drop_largest)
    requests = [trajectory.recipe.request(query)]
    results = view.results(requests, "Measuring every checkpoint")
    if results is None:
        return
    direction = 0 if len(view.words) <= 2 else view.words.index(view.value("class"))
    reference = view.reference.label
    drawn = figures.draw(results[0], steps.axis(view, query.checkpoints), reference, query.level, direction)
    picture.show(
        view,
        {"trajectory": drawn},
        figures.guide(reference, query.level),
        picture.rows(requests, results),
        "trajectory",
    )
    names = [plain(one.label) for one in query.checkpoints]
    st.table(figures.table(results[0], names, plain(reference), query.level, direction))
