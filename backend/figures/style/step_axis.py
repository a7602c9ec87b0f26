"""The axis of checkpoints: evenly spaced by label, or at their steps, linear or logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.figures.style import theme

Steps = Sequence[int | None]
"""The step of each checkpoint, rising; None: not on the axis of steps, drawn at its left."""
SCALES = {"linear": "Steps", "log": "Steps, logarithmic", "even": "Evenly spaced"}
WIDE = 20
"""Largest step over smallest from which a logarithmic axis is offered, and used unless another is chosen."""
MOST_TICKS = 14
ROOM = 0.4
"""Room at both ends of the axis, in mean distances between checkpoints."""


def scales(steps: Steps | None) -> list[str]:
    """Return the keys of SCALES that suit the steps, the default first; evenly spaced alone if they are unknown."""
    known = [step for step in steps or () if step]
    if not known:
        return ["even"]
    return ["log", "linear", "even"] if known[-1] > WIDE * known[0] else ["linear", "even"]


@dataclass(frozen=True, eq=False)
class StepAxis:
    """Where each checkpoint is on the axis (`x`), its name, and the axis as plotly takes it."""

    x: np.ndarray
    names: list[str]
    layout: dict[str, Any]
    scale: str = "even"

    @property
    def nudge(self) -> float:
        """Return how far marks are moved sideways so that they do not cover each other."""
        return 0.1 if self.scale == "even" else 0.005 * float(np.ptp(self.x))

    @property
    def edges(self) -> np.ndarray:
        """Return the edges of a heat map's cells: midway between checkpoints, and as far beyond the ends."""
        if len(self.x) == 1:
            return np.array([self.x[0] - 0.5, self.x[0] + 0.5])
        between = (self.x[1:] + self.x[:-1]) / 2
        return np.concatenate([[2 * self.x[0] - between[0]], between, [2 * self.x[-1] - between[-1]]])


def step_axis(labels: Sequence[str], steps: Steps | None = None, scale: str | None = None) -> StepAxis:
    """Return the axis of checkpoints with these labels; `scale` is one of `scales`, None the first of them."""
    names = theme.literals(labels)
    suited = scales(steps)
    scale = scale if scale in suited else suited[0]
    x = np.arange(len(names), dtype=float) if steps is None or scale == "even" else _positions(steps, scale)
    ticks = names if steps is None or scale == "even" else _at_steps(steps, names)
    shown = _apart(x)
    room = ROOM * (float(np.ptp(x)) / (len(x) - 1) if len(x) > 1 else 1.0)
    title = {"even": "", "linear": "step", "log": "step (logarithmic)"}[scale]
    if scale == "log" and steps is not None and steps[0] == 0:
        title = "step (logarithmic, 0 set apart)"
    layout = theme.axis(
        title,
        tickmode="array",
        tickvals=x[shown],
        ticktext=[ticks[i] for i in shown],
        range=[float(x[0]) - room, float(x[-1]) + room],
    )
    return StepAxis(x, names, layout, scale)


def _positions(steps: Steps, scale: str) -> np.ndarray:
    """Return places in steps, or in their logarithms; what has none is a tenth of the axis further left."""
    known = np.array([step for step in steps if step is not None and (step > 0 or scale == "linear")], dtype=float)
    places = np.log10(known) if scale == "log" else known
    gap = max(0.1 * float(np.ptp(places)), 0.3 if scale == "log" else 1.0)
    missing = len(steps) - len(known)
    return np.concatenate([places[0] - gap * np.arange(missing, 0, -1), places])


def _at_steps(steps: Steps, names: Sequence[str]) -> list[str]:
    return [name if step is None else f"{step:,}" for step, name in zip(steps, names, strict=True)]


def _apart(x: np.ndarray) -> list[int]:
    """Return the checkpoints whose names fit beside each other, the first and the last one among them."""
    least = float(np.ptp(x)) / MOST_TICKS
    shown = [len(x) - 1]
    for i in range(len(x) - 2, -1, -1):
        if x[shown[-1]] - x[i] >= least:
            shown.append(i)
    if len(x) > 1 and 0 not in shown:
        shown[-1 if len(shown) > 1 else len(shown) :] = [0]
    return shown[::-1]
