"""Choose the axis of pictures over checkpoints: evenly spaced, or the steps of the training, also logarithmic."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from backend.figures.style import step_axis
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.steps import steps_along
from pages.frame import address, shell


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the key in the address."""
    scales = step_axis.scales(steps_along(study, study.checkpoints))
    return {"axis": address.Choice(scales, scales[0])}


def control(view: shell.View) -> None:
    """Show the choice where the steps are known."""
    if len(view.choices["axis"].options) > 1:
        view.control(
            st.segmented_control,
            "Axis of checkpoints",
            "axis",
            format_func=step_axis.SCALES.__getitem__,
            required=True,
            label_visibility="collapsed",
        )


def axis(view: shell.View, checkpoints: Sequence[PinnedCheckpoint]) -> step_axis.StepAxis:
    """Return the chosen axis of these checkpoints."""
    names, steps = [one.label for one in checkpoints], steps_along(view.study, checkpoints)
    return step_axis.step_axis(names, steps, view.value("axis"))
