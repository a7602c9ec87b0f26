"""Draw and say the floor that a second seed gives: how far two trainings differ that only their seed tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backend.figures.style import drawing, theme

COLOUR = theme.MANY[3]
"""The colour of the floor, dashed."""


def named(one: str, twin: str) -> str:
    """Return the name of the floor in a legend."""
    return f"floor: {theme.literal(one)} and {theme.literal(twin)}, two seeds"


def curve(x: np.ndarray, triple: Sequence[np.ndarray], name: str) -> list[dict[str, Any]]:
    """Draw the floor, value, low and high, as a dashed curve with its interval."""
    hover, line = "layer %{x}: %{y:.3g}" + drawing.LIMITS, drawing.stroke(COLOUR, dash="dash")
    return drawing.banded(x, triple, name, line, hover, mode="lines")


def layers_beyond(beyond: np.ndarray, name: str, twin: str, other: str) -> str:
    """Say at which layers a checkpoint went further than a change of seed does."""
    said = f"{layers(beyond).capitalize()} of **{name}**" if len(beyond) else f"No layer of **{name}**"
    return f"{said} went further than a mere change of seed does: that of **{twin}** to **{other}**."


def layers(at: np.ndarray) -> str:
    """Return layers in words: `layers 0 to 3 and 7`."""
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    said = [one for run in runs for one in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    words = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"layer{'' if len(at) == 1 else 's'} {words}"
